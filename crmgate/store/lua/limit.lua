-- Count uses on their meters (crmgate.store.limits), all or none. It stands alone, without common.lua.
-- KEYS: the meters, and after them the idempotency key of a submission, if it has one
-- ARGV: now, number of meters, and for each its interval, its seconds, and whether a replay counts
-- Answers the seconds to wait; '0' if the uses were counted.
local now, meters = tonumber(ARGV[1]), tonumber(ARGV[2])
local replay = KEYS[meters + 1] and redis.call('EXISTS', KEYS[meters + 1]) == 1
local wait, after = 0, {}
for i = 1, meters do
  local interval, seconds, replays = tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1]), ARGV[3 * i + 2]
  if replays == '1' or not replay then
    after[i] = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now) + interval
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
