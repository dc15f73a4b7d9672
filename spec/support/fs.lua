-- support.fs owns a file system made of a table, with the functions of moongate.base.fs. Called by
-- specs.

local M = {}

--- A file system in which these paths exist.
---@param paths string[] absolute; a slash at the end makes a folder, all parents are folders
---@param contents table<string, string>|nil text by absolute path
---@return table fs probe, stat, first_line, getcwd, user_name, log; `probes` lists what was probed,
--- `logged` what was logged
function M.new(paths, contents)
  local what = { ["/"] = "directory" }
  for _, path in ipairs(paths) do
    what[path:match("^(.-)/?$")] = path:sub(-1) == "/" and "directory" or "file"
    for at in path:gmatch("()/") do
      if at > 1 then
        what[path:sub(1, at - 1)] = "directory"
      end
    end
  end
  local fs = { probes = {}, logged = {} }

  function fs.stat(path)
    local found = what[path]
    if found then
      return found
    end
    return nil, "No such file or directory"
  end

  function fs.probe(root, path)
    fs.probes[#fs.probes + 1] = path
    local name = (root .. path):gsub("//+", "/")
    local bare = name:match("^(.-)/?$")
    local found = what[bare == "" and "/" or bare]
    if fs.outside and fs.outside[name] then
      return nil, "outside"
    end
    -- As the system does it: "file/" is no file.
    return not (found == "file" and name:sub(-1) == "/") and found or nil
  end

  function fs.first_line(root, path)
    local text = contents and contents[root .. path]
    return text and text:match("^[^\r\n]*"):match("^%s*(.-)%s*$")
  end

  function fs.realpath(path)
    return what[path] and path or nil, "No such file or directory"
  end

  function fs.writable(path)
    return not (fs.unwritable and fs.unwritable[path]) or nil, "Permission denied"
  end

  function fs.getcwd()
    return "/home/ann"
  end

  function fs.user_name()
    return "ann"
  end

  function fs.logs(level)
    return level ~= "debug" or fs.debug == true
  end

  function fs.log(level, text)
    fs.logged[#fs.logged + 1] = level .. ": " .. text
  end

  return fs
end

return M
