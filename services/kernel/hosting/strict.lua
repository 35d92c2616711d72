-- Reads a JSON text (RFC 8259), building nothing, and fails at the first thing that the message's fields don't allow:
-- proto3's JSON mapping, without what the transcoder behind it knows better (Google's own types). rest.py puts `faults`,
-- `words`, `shapes`, `root`, `parameters` and `has_body` before this text, and alone.lua, with `remember`, before those.
local MAX_DEPTH, MAX_NAME = 64, 64
local find, byte, sub, gsub = string.find, string.byte, string.sub, string.gsub

-- Where the reader is: the body, the names and indices that lead to the value, and the next byte that is not ASCII.
local text, path, high

-- `name` is one that the caller made up.
local function fail(fault, values, name)
  error({fault = fault, values = values or {}, name = name}, 0)
end

local function want(wanted, at) fail("JSON", {byte = at, wanted = words[wanted]}) end

local function skip(at, wanted)
  local from = find(text, "[^ \t\r\n]", at)
  if from == nil then want(wanted, #text + 1) end
  return from
end

-- Returns the first byte from `at` through `last` that is not UTF-8 (Unicode 15, table 3-7).
local function not_utf8(source, at, last)
  while at <= last do
    local lead, more, low, top = byte(source, at), 0, 128, 191
    if lead >= 128 then
      if lead >= 194 and lead <= 223 then more = 1
      elseif lead >= 224 and lead <= 239 then more = 2
      elseif lead >= 240 and lead <= 244 then more = 3
      else return at end
      if lead == 224 then low = 160 elseif lead == 237 then top = 159
      elseif lead == 240 then low = 144 elseif lead == 244 then top = 143 end
      if at + more > last then return at end
      for behind = at + 1, at + more do
        local found = byte(source, behind)
        if found < low or found > top then return at end
        low, top = 128, 191
      end
    end
    at = at + 1 + more
  end
end

-- Returns the position behind the escape at `at`; `\u` pairs are one.
local function past_escape(at)
  if find(text, '^["\\/bfnrt]', at + 1) then return at + 2 end
  local _, last, unit = find(text, "^u(%x%x%x%x)", at + 1)
  if last == nil then want("escape", at) end
  unit = tonumber(unit, 16)
  if unit < 0xD800 or unit > 0xDFFF then return last + 1 end
  if unit < 0xDC00 then _, last = find(text, "^\\u[dD][c-fC-F]%x%x", last + 1) else last = nil end
  if last == nil then fail("SURROGATE", {byte = at}) end
  return last + 1
end

-- Returns the position behind a string that begins at `at`.
local function past_string(at)
  at = at + 1
  while true do
    local from = find(text, '["\\%c]', at)
    if from == nil then want("quote", #text + 1) end
    local found = byte(text, from)
    if found == 34 then at = from + 1 break end
    if found == 92 then at = past_escape(from)
    -- DEL is a control character to Lua and an ordinary one to JSON.
    elseif found == 127 then at = from + 1
    else want("control", from) end
  end
  if high ~= nil and high < at then
    local wrong = not_utf8(text, high, at - 2)
    if wrong ~= nil then fail("UTF8", {byte = wrong}) end
    high = find(text, "[\128-\255]", at)
  end
  return at
end

local function encoded(unit)
  if unit < 0x80 then return string.char(unit) end
  if unit < 0x800 then return string.char(0xC0 + math.floor(unit / 64), 0x80 + unit % 64) end
  return string.char(0xE0 + math.floor(unit / 4096), 0x80 + math.floor(unit / 64) % 64, 0x80 + unit % 64)
end

-- Returns a field's name without its escapes. What no field's name has becomes a "?": control characters and surrogates.
local function plain(name)
  local whole = gsub(name, "\\(.)(%x?%x?%x?%x?)", function(escape, digits)
    if escape ~= "u" then return (find(escape, "[bfnrt]") and "?" or escape) .. digits end
    local unit = tonumber(digits, 16)
    return unit >= 0xD800 and unit <= 0xDFFF and "?" or encoded(unit)
  end)
  return whole
end

-- Returns what may be said of a name that the caller made up: cut, and without what doesn't print.
local function printable(name)
  if not_utf8(name, 1, #name) then name = gsub(name, "[\128-\255]", "?") end
  name = gsub(gsub(name, "%c", "?"), "\194[\128-\159]", "?")
  name = gsub(gsub(name, "\226\128[\139-\143\168-\174]", "?"), "\226\129[\160-\175]", "?")
  local length = 0
  for at in string.gmatch(name, "()[^\128-\191]") do
    length = length + 1
    if length > MAX_NAME then return sub(name, 1, at - 1) end
  end
  return name == "" and '""' or name
end

local TIME = "^%d%d%d%d%-[01]%d%-[0-3]%dT[0-2]%d:[0-5]%d:[0-6]%d"

-- Returns a name that the caller made up as it may be repeated: in any language, but without what could be a number or an
-- address, be it in full-width or mathematical characters.
local function named(name)
  name = printable(name)
  local _, digits = gsub(name, "%d", "")
  local other = find(name, "@", 1, true) or find(name, "\239\188[\144-\153\160]") or find(name, "\240\157\159")
  return (presentable(name) or (digits <= 2 and not other)) and name or "[hidden]"
end

-- Tells whether a value of the right JSON type, its escapes undone, is one that its field takes.
local function fits(field, value, quoted)
  if field.kind == "integer" then
    local number = (not quoted or find(value, "^%-?%d+$")) and tonumber(value)
    return number and number % 1 == 0 and number >= field.low and number <= field.high
  elseif field.kind == "float" then
    if quoted and (value == "NaN" or value == "Infinity" or value == "-Infinity") then return true end
    local number = find(value, "^%-?%.?%d") and tonumber(value)
    return number and math.abs(number) < math.huge
  elseif field.kind == "enum" then
    return find(value, "^%-?%d+$") or (quoted and field.names[value])
  elseif field.kind == "bytes" then
    local _, last = find(value, "^[%w+/_-]*")
    return last % 4 ~= 1 and find(value, "^=*$", last + 1)
  elseif field.kind == "timestamp" then
    local _, last = find(value, TIME)
    if last == nil then return false end
    local _, fraction = find(value, "^%.%d+", last + 1)
    last = fraction or last
    return find(value, "^Z$", last + 1) or find(value, "^[+-]%d%d:%d%d$", last + 1)
  end
  return true
end

-- What each kind of field may be written as; objects and arrays are seen to where they begin.
local WRITTEN = {
  string = {string = true}, bytes = {string = true}, timestamp = {string = true}, boolean = {boolean = true},
  integer = {number = true, string = true}, float = {number = true, string = true}, enum = {number = true, string = true},
  message = {object = true}, map = {object = true},
}

local function expect(field, found)
  local written = WRITTEN[field.kind]
  if written ~= nil and not written[found] then fail("KIND", {found = words[found], wanted = field.wanted}) end
end

local past_value

local function past_object(at, shape, depth)
  local seen, here = {}, #path + 1
  at = skip(at + 1, "name")
  if byte(text, at) == 125 then return at + 1 end
  while true do
    if byte(text, at) ~= 34 then want("name", at) end
    local behind = past_string(at)
    local name = plain(sub(text, at + 1, behind - 2))
    local field = nil
    if shape ~= nil then
      field = shape.fields[name]
      if field == nil then fail("UNKNOWN", {known = shape.known}, name) end
      name, path[here] = field.name, "." .. field.name
      if seen[name] then fail("TWICE") end
    elseif seen[name] then
      fail("TWICE", nil, name)
    end
    seen[name] = true
    at = skip(behind, "colon")
    if byte(text, at) ~= 58 then want("colon", at) end
    at = past_value(skip(at + 1, "value"), field, depth, field ~= nil and field.repeated)
    path[here] = nil
    at = skip(at, "comma_or_brace")
    local found = byte(text, at)
    if found == 125 then return at + 1 end
    if found ~= 44 then want("comma_or_brace", at) end
    at = skip(at + 1, "name")
  end
end

local function past_array(at, field, depth)
  local index, here = 0, #path + 1
  at = skip(at + 1, "value")
  if byte(text, at) == 93 then return at + 1 end
  while true do
    -- A made-up object has no path to its parts.
    if field ~= nil then
      path[here] = "[" .. index .. "]"
      -- The transcoder would leave it out, and the others would move up.
      if field.wanted ~= nil and find(text, "^null", at) then fail("KIND", {found = words.null, wanted = field.wanted}) end
    end
    at = skip(past_value(at, field, depth, false), "comma_or_bracket")
    path[here], index = nil, index + 1
    local found = byte(text, at)
    if found == 93 then return at + 1 end
    if found ~= 44 then want("comma_or_bracket", at) end
    at = skip(at + 1, "value")
  end
end

local function past_number(at)
  local _, last = find(text, "^%-?%d+", at)
  if last == nil then want("value", at) end
  if find(text, "^%-?0%d", at) then want("number", at) end
  local _, fraction = find(text, "^%.%d+", last + 1)
  local _, exponent = find(text, "^[eE][+-]?%d+", (fraction or last) + 1)
  return (exponent or fraction or last) + 1
end

-- `field` is nil where anything may stand; `many` says that the field's values stand in an array.
past_value = function(at, field, depth, many)
  local first, found, behind = byte(text, at), "number", nil
  if first == 123 then found = "object" elseif first == 91 then found = "array" elseif first == 34 then found = "string"
  elseif find(text, "^true", at) then found, behind = "boolean", at + 4
  elseif find(text, "^false", at) then found, behind = "boolean", at + 5
  elseif find(text, "^null", at) then return at + 4
  else behind = past_number(at) end
  if field ~= nil and many and found ~= "array" then
    fail("KIND", {found = words[found], wanted = words.array})
  elseif field ~= nil and not many then
    expect(field, found)
  end
  if found == "object" or found == "array" then
    if depth >= MAX_DEPTH then fail("DEPTH", {limit = MAX_DEPTH}) end
    if found == "array" then return past_array(at, field, depth + 1) end
    return past_object(at, field and shapes[field.message], depth + 1)
  end
  behind = behind or past_string(at)
  if field ~= nil and field.checked then
    local quoted = found == "string"
    local value = quoted and plain(sub(text, at + 1, behind - 2)) or sub(text, at, behind - 1)
    if not fits(field, value, quoted) then fail("VALUE", {wanted = field.wanted}) end
  end
  return behind
end

local function check_body()
  high = find(text, "[\128-\255]")
  local at = skip(1, "object")
  at = past_value(at, {kind = "message", message = root, wanted = words.object}, 0, false)
  if find(text, "^null", at - 4) then fail("KIND", {found = words.null, wanted = words.object}) end
  at = find(text, "[^ \t\r\n]", at)
  if at ~= nil then want("ending", at) end
end

local function unescaped(part)
  return (gsub(gsub(part, "+", " "), "%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- Looks at the query's parameters; those of fields within fields are left to the transcoder.
local function check_query(query)
  for part in string.gmatch(query, "[^&]+") do
    local name, value = string.match(part, "^([^=]*)=?(.*)$")
    name, value = unescaped(name), unescaped(value)
    local field = parameters.fields[string.match(name, "^[^.]*")]
    if field == nil then
      fail(parameters.known == "" and "NO_PARAMETERS" or "UNKNOWN", {known = parameters.known}, name)
    end
    path[1] = "." .. field.name
    local wrong = not_utf8(value, 1, #value)
    if wrong ~= nil then fail("UTF8", {byte = wrong}) end
    if field.checked and name == field.name and not fits(field, value, true) then fail("VALUE", {wanted = field.wanted}) end
    path[1] = nil
  end
end

local function said(fault, language)
  local filled = gsub(faults[fault.fault][language], "{(%w+)}", function(key)
    local value = fault.values[key]
    return type(value) == "table" and value[language] or tostring(value)
  end)
  return filled
end

-- Hands what was found to the answer and to the log (replies.py), which must not hold a name that the caller made up.
local function refuse(handle, fault)
  if type(fault) == "table" then
    local known = sub(table.concat(path), 2)
    local field = known
    if fault.name ~= nil then field = (known == "" and "" or known .. ".") .. named(fault.name) end
    local noted = handle:streamInfo():dynamicMetadata()
    noted:set(NOTED, "field", field == "" and "request" or field)
    noted:set(NOTED, "known", known == "" and "request" or known)
    noted:set(NOTED, "fault", said(fault, "en"))
    noted:set(NOTED, "fault_zh", said(fault, "zh"))
  end
  handle:respond({[":status"] = "400"}, "")
end

function envoy_on_request(handle)
  remember(handle)
  local query = string.match(handle:headers():get(":path"), "%?([^#]*)")
  local body = has_body and handle:body()
  text, path, high = body and body:length() > 0 and body:getBytes(0, body:length()) or "", {}, nil
  local right, fault = true, nil
  if text ~= "" then right, fault = pcall(check_body) end
  if right and query ~= nil then right, fault = pcall(check_query, query) end
  if not right then refuse(handle, fault) end
  text, path = nil, nil
end
