-- Specs of moongate.base.csv.

local csv = require("moongate.base.csv")

describe("csv.rows", function()
  --- All rows with the numbers of their lines, and what ended them.
  local function read(text)
    local rows, next_row = {}, csv.rows(text)
    while true do
      local row, line, problem = next_row()
      if not row then
        return rows, problem and ("%d: %s"):format(line, problem)
      end
      row.line = line
      rows[#rows + 1] = row
    end
  end

  it("reads fields, quoted or not, whatever ends the lines", function()
    for _, newline in ipairs({ "\n", "\r\n" }) do
      local text = ('a,b,c\n1,,"x, ""y"""\n\n# no row\n"",2,3'):gsub("\n", newline)
      local expected = {
        { "a", "b", "c", line = 1 }, { "1", "", 'x, "y"', line = 2 }, { "", "2", "3", line = 5 },
      }
      assert.same(expected, (read(text)))
      assert.same(expected, (read("\239\187\191" .. text .. newline)))
    end
    assert.same({}, (read("")))
    assert.same({ { "a", "", line = 1 } }, (read("a,")))
  end)

  it("counts the lines within quotes", function()
    assert.same({ { "a\nb", line = 1 }, { "c", line = 3 } }, (read('"a\nb"\nc\n')))
  end)

  it("says in which line it is no such table", function()
    assert.equal("2: a quote that does not end", select(2, read('a\n"b\nc')))
    assert.equal("1: expected a comma or the end of the line behind a quote",
      select(2, read('"a"b,c')))
  end)
end)
