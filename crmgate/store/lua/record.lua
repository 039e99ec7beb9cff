-- Write down what became of an attempt, in one step with everything that follows from it.
-- a: id, now, lease, outcome (delivered|waiting|dead|paused), counted, due_at, look, receipt, record (id in the CRM),
--    receipt_seconds, wake_at (absent: nobody is woken; 0: now), used (requests), outage (the CRM is away),
--    floor (due_at is not to be hurried), limited (too many requests), settles_at (until when the CRM may be at work
--    on it, 0: it is not), figures (what is counted, by name), threshold, probe, session_seconds
-- ARGV[2]: attempt
-- Answers 'recorded', 'paused', 'opened' or 'recovered' (recorded, and the provider changed its state), 'lost' or 'ended'.
despite_full()
redis.call('ZREM', SLOTS, a.lease)
spend(a.used - to.reserve)
local state, held, key = unpack(redis.call('HMGET', KEYS[1], 'state', 'lease', 'session'))
if ended(state) then return 'ended' end
-- What the CRM confirmed is true whoever holds the lease by now; a failure is only its holder's to tell.
if a.outcome ~= 'delivered' and held ~= a.lease then return 'lost' end
note(a.id, ARGV[2])
if a.counted then redis.call('HINCRBY', KEYS[1], 'counted', 1) end
for name, number in pairs(a.figures) do redis.call('HINCRBY', P .. 'attempts', name, number) end

if a.outcome == 'delivered' then
  redis.call('HSET', KEYS[1], 'state', 'delivered', 'delivered', a.receipt)
  redis.call('HDEL', KEYS[1], 'payload', 'lease', 'lease_until', 'look', 'due_at', 'verdict', 'inline', 'cause', 'dead_at', 'settles_at')
  redis.call('EXPIRE', KEYS[1], a.receipt_seconds)
  for _, set in ipairs({DUE, HELD, LATER, DEAD, RETURNING}) do redis.call('ZREM', set, a.id) end
  redis.call('HINCRBY', STATS, 'delivered', 1)
  if key then
    local first, record = unpack(redis.call('HMGET', session(key), 'first', 'record'))
    if first == a.id or record == a.record then
      redis.call('HSET', session(key), 'provider', to.provider, 'record', a.record)
      redis.call('EXPIRE', session(key), a.session_seconds)
    end
  end
  free(a.id)
  redis.call('HSET', GATE, 'verified', to.credentials)
  local cause = well(true)
  pump_all()
  return (cause == 'refused' or cause == 'outage') and 'recovered' or 'recorded'
end

redis.call('HDEL', KEYS[1], 'lease', 'lease_until')
redis.call('HSET', KEYS[1], 'look', a.look, 'state', 'waiting')
redis.call('HSET', KEYS[1], 'settles_at', a.settles_at)
local cause = redis.call('HGET', GATE, 'cause')
if a.outcome == 'paused' then
  hold(a.id)
  redis.call('HSET', GATE, 'cause', 'refused', 'until', a.due_at, 'by', to.credentials)
  if cause ~= 'refused' then redis.call('HSET', GATE, 'since', a.now) end
  return cause == 'refused' and 'recorded' or 'paused'
end
local opened = a.outage and ill()
local open = opened or cause == 'outage'
if a.outcome == 'dead' then
  redis.call('HSET', KEYS[1], 'verdict', 'dead', 'cause', a.outage and 'outage' or '')
  redis.call('ZADD', DUE, a.now + a.grace, a.id)
elseif open and not a.floor then
  hold(a.id)  -- no time to wait for: the end of the outage
else
  redis.call('HSET', KEYS[1], 'due_at', a.due_at)
  redis.call('ZADD', DUE, a.due_at + a.grace, a.id)
  if a.outage and not a.floor and to.active then redis.call('ZADD', LATER, redis.call('HGET', KEYS[1], 'accepted_at'), a.id) end
  if to.rate > 0 and a.limited then redis.call('HSET', GATE, 'tokens', math.min(tokens(), 0), 'tokens_at', a.now) end
end
-- Not a word about the credentials: the next operation tries them. One: each of a thousand would wake all the others.
if cause == 'trial' and not opened then
  redis.call('HDEL', GATE, 'cause', 'until')
  pump(1)
elseif not open then pump_all() end
if a.wake_at then
  local message = string.gsub(a.wake, '@id@', a.id)
  if a.wake_at > 0 then redis.call('ZADD', TIMED, a.wake_at, message) else redis.call('LPUSH', WAKES, message) end
end
return opened and 'opened' or 'recorded'
