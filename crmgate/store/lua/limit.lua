-- Count uses on their meters (crmgate.store.limits), all or none. It stands alone, without common.lua.
-- KEYS: the meters, and after them the idempotency key of a submission, if it has one
-- ARGV: time ('': Redis's clock; only a test passes its own), number of meters,
--   and for each its interval, its seconds, and whether a replay counts
-- Answers the seconds to wait; '0' if the uses were counted.
local now, meters = tonumber(ARGV[1]), tonumber(ARGV[2])
if not now then
  local whole, microseconds = unpack(redis.call('TIME'))
  now = whole + microseconds / 1000000
end
local replay = KEYS[meters + 1] and redis.call('EXISTS', KEYS[meters + 1]) == 1
local wait, after = 0, {}
for i = 1, meters do
  local interval, seconds, replays = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), ARGV[3 * i + 2]
  if replays == '1' or not replay then
    -- A time that is further ahead than the limit allows was written before Redis's clock was set back.
    local before = math.min(tonumber(redis.call('GET', KEYS[i]) or now), now + seconds)
    after[i] = math.max(before, now) + interval
    wait = math.max(wait, after[i] - now - seconds)
  end
end
if wait > 0.0005 then  -- less is the rounding of the division
  redis.call('HINCRBY', key.stats, 'limited', 1)
  return string.format('%.3f', wait)
end
for i, at in pairs(after) do
  redis.call('SET', KEYS[i], string.format('%.6f', at), 'PX', math.ceil((at - now) * 1000))
end
return '0'
