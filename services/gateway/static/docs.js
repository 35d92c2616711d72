// Renders /openapi.json into #api. Swagger UI stands beside this file.
"use strict";

window.addEventListener("DOMContentLoaded", () => {
  window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#api",
    deepLinking: true,
    docExpansion: "list",
    // The schemas at the end of the page stay folded: each operation shows its own.
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    // No online validator: this page works without any other server.
    validatorUrl: null,
    presets: [window.SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
  });
});
