-- The floor: floor.c, with only the system calls that none can do without, and one folder.

return { {
  name = "floor",
  title = "floor",
  binary = "build/tests/floor",
  cannot = function(case)
    return case.php and "knows only connections that are kept for ever"
      or case.fresh and "knows only connections that are kept for ever"
      or case.tenants and "knows no tenants"
      or case.front and "looks nothing up"
      or case.workers and "is one process"
      or case.reload and "reloads nothing"
  end,
  command = function(values, _, program)
    local docroot = values.docroots[1]
    return { program, values.address, values.socket, docroot,
      "/style.css=" .. docroot .. "/style.css", "/large.css=" .. docroot .. "/large.css" }
  end,
} }
