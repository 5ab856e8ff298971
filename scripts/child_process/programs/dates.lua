-- Prints the date five times, a tenth of a second apart. Started by the scripts
-- above.

local orrery = require "orrery"

local count = 5
local timer
timer = orrery.every(100, function()
  print(os.date())
  count = count - 1
  if count == 0 then timer:stop() end
end)
