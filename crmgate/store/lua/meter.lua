-- Meters of rate limits (crmgate.store.limits). This file stands before the scripts that count uses.
-- A use is a list: key of its meter, seconds by which it fills the meter, seconds of the limit, whether it is for replays too.

-- Count uses on their meters, all or none. Answers the seconds to wait; 0 if the uses were counted.
local function count_uses(uses, now)
  local wait, after = 0, {}
  for i, use in ipairs(uses) do
    local name, interval, seconds = unpack(use)
    -- A time that is further ahead than the limit allows was written before Redis's clock was set back.
    local before = math.min(tonumber(redis.call('GET', name) or now), now + seconds)
    after[i] = math.max(before, now) + interval
    wait = math.max(wait, after[i] - now - seconds)
  end
  if wait > 0.0005 then  -- less is the rounding of the division
    redis.call('HINCRBY', key.stats, 'limited', 1)
    return wait
  end
  for i, at in ipairs(after) do
    redis.call('SET', uses[i][1], string.format('%.6f', at), 'PX', math.ceil((at - now) * 1000))
  end
  return 0
end
