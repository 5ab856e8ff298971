local helper = require "spec.helper"

describe("orrery.http.native", function()
  it("names the package that was not there when it was built", function()
    helper.run(function()
      local said = helper.lua([[
        package.cpath = ""
        print(pcall(require, "orrery.http.native"))]]).stdout

      assert.matches("^false\torrery%.http was not built, for it needs llhttp: "
        .. "[^\n]*node%-llhttp[^\n]*\n$", said)
    end)
  end)
end)
