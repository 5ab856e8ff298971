local signals = require "orrery.runtime.signals"

describe("signals", function()
  it("have a number, by name in any case and by number", function()
    assert.equal(15, signals.number("sigterm"))
    assert.equal(15, signals.number("TERM"))
    assert.equal(15, signals.number(15))
    assert.equal(0, signals.number(0))
    for _, bad in ipairs { "SIGFOO", "", 65, -1, 1.5, {}, false } do
      assert.is_nil(signals.number(bad))
    end
  end)

  it("have a name by number", function()
    assert.equal("SIGTERM", signals.name(15))
    assert.equal("SIGRTMIN+2", signals.name(36))
  end)

  it("that do not exist are raised with the nearest name", function()
    assert.equal(9, signals.check("kill", "KILL"))
    local ok, err = pcall(signals.check, "kill", "sigtem")

    assert.is_false(ok)
    assert.equal(
      'spec/runtime/signals_spec.lua:21: kill: unknown signal "sigtem", '
      .. "did you mean SIGTERM? (ERR_UNKNOWN_SIGNAL)", err)
    assert.matches("unknown signal 99 %(ERR_UNKNOWN_SIGNAL%)$",
      select(2, pcall(signals.check, "kill", 99)))
  end)
end)
