local report = require "bench.report"

--- A row of which two contenders were measured, and one is not there.
local function row(title, figure)
  return {
    title = title,
    text = "time of a thing, us",
    figures = { "us" },
    contenders = {
      { name = "C", samples = { us = { 3, 1, 2 } } },
      { name = "ours", samples = { us = { figure, 5, 3 } } },
      { name = "Bun", samples = {}, missing = "not found" },
    },
    goals = { { of = "ours", over = "C", most = 1.5 } },
  }
end

describe("bench.report", function()
  it("names a peer that is not there, and holds medians against goals",
    function()
      local measured = row("thing", 4)

      assert.matches("ours +3.0 +4.0 +5.0 +2.00\n", report.figures(measured))
      assert.matches("Bun +skipped: not found\n", report.figures(measured))
      assert.matches("thing +ours / C +2.00 <= 1.5 +MISSED\n",
        report.goals { measured })
    end)

  it("replaces the sections of a page that were measured, and keeps others",
    function()
      local rows = { row("first", 4), row("second", 4), row("third", 4) }
      local function section(i, about) return report.section(rows[i], about) end
      local page = report.page("", rows, { third = section(3, "old\n") })
      page = report.page(page, rows, { first = section(1, "old\n") })
      page = report.page(page, rows,
        { first = section(1, "new\n"), second = section(2, "new\n") })

      local found = {}
      for title, about in page:gmatch("\n## (%S+)\n.-(%a+)\n```\n") do
        found[#found + 1] = title .. " " .. about
      end
      assert.same({ "first new", "second new", "third old" }, found)
    end)

  it("leaves sections out whose row there is no more", function()
    local gone, here = row("gone", 4), row("here", 4)
    local page = report.page("", { gone, here },
      { gone = report.section(gone, ""), here = report.section(here, "") })

    page = report.page(page, { here }, {})

    assert.is_nil(page:find "gone")
    assert.truthy(page:find "\n## here\n")
  end)
end)
