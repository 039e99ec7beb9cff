-- Write down what became of an attempt, in one step with everything that follows from it.
-- KEYS: op, due, pause, stats, wake list, wake schedule, held, verified
-- ARGV: id, lease, outcome (delivered|waiting|dead|paused), attempt, counted, due_at, alarm, look, delivered, receipt ttl,
--       wake message, wake at (0: now), now, credentials, wake message with @id@ in the place of the id
-- Answers 'recorded', 'paused' or 'recovered' (recorded, and the provider changed its state), 'lost' or 'ended'.
local op, outcome = KEYS[1], ARGV[3]
local state = redis.call('HGET', op, 'state')
if not state or state == 'delivered' or state == 'discarded' then return 'ended' end
local held = redis.call('HGET', op, 'lease')
-- What the CRM confirmed is true whoever holds the lease by now; a failure is only its holder's to tell.
if outcome ~= 'delivered' and held ~= ARGV[2] then return 'lost' end

-- Let go of so many that waited for this attempt, the longest held first. All the others have alarms of their own.
local function release(count)
  local ids = redis.call('ZPOPMIN', KEYS[7], count)
  for i = 1, #ids, 2 do
    redis.call('ZADD', KEYS[2], ARGV[13], ids[i])
    redis.call('LPUSH', KEYS[5], (string.gsub(ARGV[15], '@id@', ids[i])))
  end
  redis.call('DEL', KEYS[3])
end

local number = redis.call('HINCRBY', op, 'tries', 1)
redis.call('HSET', op, 'attempt:' .. number, ARGV[4])
if number > 50 then redis.call('HDEL', op, 'attempt:' .. (number - 40)) end
if ARGV[5] == '1' then redis.call('HINCRBY', op, 'counted', 1) end
local paused = redis.call('HGET', KEYS[3], 'refused') == '1'
if outcome == 'delivered' then
  redis.call('HSET', op, 'state', 'delivered', 'delivered', ARGV[9])
  redis.call('HDEL', op, 'payload', 'lease', 'lease_until', 'look', 'due_at', 'verdict', 'inline')
  redis.call('EXPIRE', op, ARGV[10])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[4], 'delivered', 1)
  redis.call('SET', KEYS[8], ARGV[14])
  if redis.call('EXISTS', KEYS[3]) == 1 then release(1000) end
  return paused and 'recovered' or 'recorded'
end
redis.call('HDEL', op, 'lease', 'lease_until')
redis.call('HSET', op, 'look', ARGV[8])
redis.call('ZADD', KEYS[2], ARGV[7], ARGV[1])
if outcome == 'paused' then
  redis.call('HSET', op, 'state', 'waiting')
  redis.call('ZADD', KEYS[7], ARGV[13], ARGV[1])
  redis.call('HSET', KEYS[3], 'until', ARGV[6], 'refused', '1')
  redis.call('DEL', KEYS[8])
  return paused and 'recorded' or 'paused'
end
if outcome == 'dead' then
  redis.call('HSET', op, 'verdict', 'dead')
else
  redis.call('HSET', op, 'state', 'waiting', 'due_at', ARGV[6])
end
-- Not a word about the credentials: the next operation tries them. One: each of a thousand would wake all the others.
if not paused and redis.call('EXISTS', KEYS[3]) == 1 then release(1) end
if ARGV[11] ~= '' then
  if tonumber(ARGV[12]) > 0 then redis.call('ZADD', KEYS[6], ARGV[12], ARGV[11])
  else redis.call('LPUSH', KEYS[5], ARGV[11]) end
end
return 'recorded'
