-- Writes down a call that Envoy refuses by itself, in the lines of the access log (replies.py), before the refusal leaves:
-- what the caller was told is in the file whatever dies next, and what can't be written is not told. alone.py puts
-- `NOTED`, `LOG`, `unaudited` and `presentable` before this text.
local function quoted(value)
  if value == nil then return "null" end
  local plain = string.gsub(value, '[%c"\\\127-\255]', function(found)
    return string.format("\\u%04x", string.byte(found))
  end)
  return '"' .. plain .. '"'
end

local function now(handle) return tonumber(handle:timestamp()) end

-- Returns what may be written down of a name that the caller made up.
local function shown(value)
  if value == nil or presentable(value) then return value end
  return "[hidden]"
end

-- Keeps what the line will say of the request: of a response, a script sees no more than that.
local function remember(handle)
  local headers, noted = handle:headers(), handle:streamInfo():dynamicMetadata()
  local path = string.gsub(string.match(headers:get(":path"), "^[^?]*"), "[^/]+", shown)
  local id = headers:get("x-request-id")
  if id ~= nil and (#id ~= 36 or not string.find(id, "^%x+%-%x+%-%x+%-%x+%-%x+$")) then id = nil end
  noted:set(NOTED, "began", tostring(now(handle)))
  noted:set(NOTED, "chinese", string.find(headers:get("accept-language") or "", "^%s*[zZ][hH]%f[%W]") ~= nil)
  noted:set(NOTED, "request", string.format(
    '"method":%s,"path":%s,"request_id":%s,"caller":%s,"tenant":%s,"request_bytes":%s',
    quoted(headers:get(":method")), quoted(string.sub(path, 1, 200)), quoted(id),
    quoted(shown(string.sub(headers:get("x-assay-caller") or "", 1, 128))), quoted(shown(headers:get("x-assay-tenant"))),
    string.match(headers:get("content-length") or "", "^%d+$") or "0"
  ))
end

local function line(handle, noted, status)
  local began = tonumber(noted.began)
  local time = os.date("!%Y-%m-%dT%H:%M:%S", math.floor(began / 1000)) .. string.format(".%03dZ", began % 1000)
  return string.format(
    '{"time":"%s",%s,"status":%d,"grpc_status":null,"details":"alone","flags":"-","duration_ms":%d,"field":%s,"fault":%s}\n',
    time, noted.request, status, math.max(0, now(handle) - began), quoted(noted.known), quoted(noted.fault)
  )
end

-- Returns whether the text is in the file, in the hands of the kernel; a line that a full disk cut stays by itself.
local function append(text)
  local file = io.open(LOG, "a+")
  if file == nil then return false end
  local cut = file:seek("end", -1) ~= nil and file:read(1) ~= "\n"
  file:seek("end")
  local written = file:write(cut and "\n" or "", text) and file:flush()
  return file:close() and written
end

-- Runs for Envoy's own answers alone: what the application answers has another route by then, without a script.
function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local noted, status = metadata:get(NOTED), tonumber(handle:headers():get(":status"))
  if noted == nil or noted.request == nil or status < 400 then return end
  local done, written = pcall(function() return append(line(handle, noted, status)) end)
  metadata:set(NOTED, "written", true)
  if done and written then return end
  local body = handle:body()
  handle:headers():replace(":status", "503")
  if body ~= nil then body:setBytes(unaudited[noted.chinese and "zh" or "en"]) end
end

