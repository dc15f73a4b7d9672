std = "luajit"
max_line_length = 100
self = false
exclude_files = { "build/**", "third_party/**" }
files["spec/**/*_spec.lua"] = { std = "+busted" }
files["tests/**/*_spec.lua"] = { std = "+busted" }
files["examples/**/*_spec.lua"] = { std = "+busted" }
