"""Makes the OpenAPI 3.1 document of the public HTTP interface from the descriptors of the protos."""
