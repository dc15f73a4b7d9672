-- moongate.base.describe owns how a wrong value is named in a message. Called by all modules that
-- say what they have been given.

--- Names a value in a few words.
---@param value any
---@return string # "nothing", "true", "12", "\"text\"" (cut at 60 bytes, one line), or "a table"
return function(value)
  local kind = type(value)
  if kind == "string" then
    local shown = (#value > 60 and value:sub(1, 57) .. "..." or value):gsub("%c", "?")
    return ('"%s"'):format(shown)
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  end
  return kind == "nil" and "nothing" or "a " .. kind
end
