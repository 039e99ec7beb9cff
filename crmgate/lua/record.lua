-- Answers 'recorded', 'paused' or 'recovered' (recorded, and the provider changed its state), 'lost' or 'ended'.
-- Write down what became of an attempt, in one step with everything that follows from it.
-- KEYS: op, due, pause, stats, wake list, wake schedule, held
-- ARGV: id, lease, outcome (delivered|waiting|dead|paused), attempt, counted, due_at, alarm, look, delivered, receipt ttl,
--       wake message, wake at (0: now), now
local op, outcome = KEYS[1], ARGV[3]
local state = redis.call('HGET', op, 'state')
if not state or state == 'delivered' or state == 'discarded' then return 'ended' end
local held = redis.call('HGET', op, 'lease')
-- What the CRM confirmed is true whoever holds the lease by now; a failure is only its holder's to tell.
if outcome ~= 'delivered' and held ~= ARGV[2] then return 'lost' end
local number = redis.call('HINCRBY', op, 'tries', 1)
redis.call('HSET', op, 'attempt:' .. number, ARGV[4])
if number > 50 then redis.call('HDEL', op, 'attempt:' .. (number - 40)) end
if ARGV[5] == '1' then redis.call('HINCRBY', op, 'counted', 1) end
if outcome == 'delivered' then
  redis.call('HSET', op, 'state', 'delivered', 'delivered', ARGV[9])
  redis.call('HDEL', op, 'payload', 'lease', 'lease_until', 'look', 'due_at', 'verdict')
  redis.call('EXPIRE', op, ARGV[10])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[4], 'delivered', 1)
  if redis.call('DEL', KEYS[3]) == 1 then
    -- The probe passed: those that were held back are due now, the longest held first. More than fit into one
    -- step come back with their own alarms.
    local held = redis.call('ZPOPMIN', KEYS[7], 1000)
    for i = 1, #held, 2 do redis.call('ZADD', KEYS[2], ARGV[13], held[i]) end
    return 'recovered'
  end
  return 'recorded'
end
redis.call('HDEL', op, 'lease', 'lease_until')
redis.call('HSET', op, 'look', ARGV[8])
redis.call('ZADD', KEYS[2], ARGV[7], ARGV[1])
if outcome == 'dead' then
  redis.call('HSET', op, 'verdict', 'dead')
elseif outcome == 'paused' then
  redis.call('HSET', op, 'state', 'waiting')
  redis.call('ZADD', KEYS[7], ARGV[13], ARGV[1])
  if not redis.call('SET', KEYS[3], ARGV[6], 'GET') then return 'paused' end
else
  redis.call('HSET', op, 'state', 'waiting', 'due_at', ARGV[6])
end
if ARGV[11] ~= '' then
  if tonumber(ARGV[12]) > 0 then redis.call('ZADD', KEYS[6], ARGV[12], ARGV[11])
  else redis.call('LPUSH', KEYS[5], ARGV[11]) end
end
return 'recorded'
