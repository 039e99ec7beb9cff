-- Count uses on their meters (meter.lua), all or none. It stands alone, without common.lua.
-- KEYS[1]: the first meter
-- ARGV: time ('': Redis's clock; only a test passes its own), the uses as JSON
-- Answers the seconds to wait; '0' if the uses were counted.
local now = tonumber(ARGV[1])
if not now then
  local whole, microseconds = unpack(redis.call('TIME'))
  now = whole + microseconds / 1000000
end
return string.format('%.3f', count_uses(cjson.decode(ARGV[2]), now))
