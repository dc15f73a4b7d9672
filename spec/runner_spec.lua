-- tools/test: words that it does not know end it, before any test has run.

local function run(words)
  local pipe = assert(io.popen(("tools/test %s 2>&1; echo status $?"):format(words)))
  local text = pipe:read("*a")
  pipe:close()
  return text
end

describe("tools/test", function()
  it("refuses a word that is neither a kind of test, a file, an option nor its value", function()
    for words, wrong in pairs({
      ["import"] = "import", ["integration 'a b'"] = "a b", ["integratoin"] = "integratoin",
      ["unit spec/runner_spec.lua x"] = "x", ["spec --filter=none x"] = "x",
      ["spec --filter none x"] = "x",
    }) do
      local text = run(words)
      local kinds = "\n  tools/test [--asan] [unit|spec|integration|all] "
      assert.truthy(text:find(("tools/test: '%s' is no kind of test"):format(wrong), 1, true), text)
      assert.truthy(text:find(kinds, 1, true), text)
      assert.truthy(text:find("\nstatus 2\n$"), text)
    end
  end)

  it("passes an option's value on, which is no file", function()
    local text = run("spec spec/deb_spec.lua --filter 'no such case'")
    assert.is_nil(text:find("is no kind of test", 1, true))
  end)
end)
