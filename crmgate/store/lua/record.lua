-- Record the outcome of an attempt, in one step with everything that follows from it.
-- Arguments:
--   id               operation
--   now              time at which the attempt ended
--   lease            lease of the attempt
--   outcome          'delivered', 'waiting', 'dead' or 'paused'
--   counted          true: the attempt uses up a retry
--   due_at           not delivered: time of the next attempt
--   look             not delivered: '1' if the CRM has to be searched before the next attempt, else '0'
--   wake_at          time at which a worker is woken, 0: now, absent: never
--   receipt          delivered: what the CRM confirmed, as JSON
--   record           delivered: id of the record in the CRM
--   receipt_seconds  seconds for which a receipt is kept
--   session_seconds  seconds for which a session is kept
--   used             number of requests that were sent
--   outage           true: the failure says that the CRM is away
--   floor            true: the next attempt is not made before due_at, even if an outage ends
--   limited          true: the CRM reports too many requests
--   settles_at       time until which the CRM may be at work on the request, 0: it is not
--   figures          counters of crmgate.store.figures: number to add, by name
--   threshold        number of failures in a row that open the circuit breaker
--   first_probe      seconds until the first probe of an outage
--   to               provider
-- ARGV[2]: event that is added to its history
-- Answers 'recorded', 'paused', 'opened' or 'recovered' (recorded, and the provider's gate changed its state), 'lost'
-- (another one has the lease) or 'ended' (it had ended before).
despite_full()
redis.call('ZREM', SLOTS, a.lease)
spend(a.used - to.reserve)
local state, holder, visit = unpack(redis.call('HMGET', KEYS[1], 'state', 'lease', 'session'))
if ended(state) then return 'ended' end
-- A confirmation by the CRM is true, even without the lease; only the holder of the lease may record a failure.
if a.outcome ~= 'delivered' and holder ~= a.lease then return 'lost' end
note(a.id, ARGV[2])
if a.counted then redis.call('HINCRBY', KEYS[1], 'counted', 1) end
for name, number in pairs(a.figures) do redis.call('HINCRBY', key.attempts, name, number) end

if a.outcome == 'delivered' then
  redis.call('HSET', KEYS[1], 'state', 'delivered', 'delivered', a.receipt)
  redis.call('HDEL', KEYS[1], 'payload', 'lease', 'lease_until', 'look', 'due_at', 'verdict', 'inline', 'cause', 'dead_at',
    'settles_at')
  redis.call('EXPIRE', KEYS[1], a.receipt_seconds)
  for _, set in ipairs({key.due, HELD, LATER, key.dead, key.returning}) do redis.call('ZREM', set, a.id) end
  redis.call('HINCRBY', key.stats, 'delivered', 1)
  if visit then
    local first, record = unpack(redis.call('HMGET', session(visit), 'first', 'record'))
    if first == a.id or record == a.record then
      redis.call('HSET', session(visit), 'provider', to.provider, 'record', a.record)
      redis.call('EXPIRE', session(visit), a.session_seconds)
    end
  end
  free(a.id)
  redis.call('HSET', GATE, 'verified', to.credentials)
  local cause = well(true)
  pump_all()
  return (cause == 'refused' or cause == 'outage') and 'recovered' or 'recorded'
end

redis.call('HDEL', KEYS[1], 'lease', 'lease_until')
redis.call('HSET', KEYS[1], 'look', a.look, 'state', 'waiting', 'settles_at', a.settles_at)
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
  redis.call('ZADD', key.due, a.now + GRACE, a.id)
elseif open and not a.floor then
  hold(a.id)  -- until the outage ends, whenever that is
else
  redis.call('HSET', KEYS[1], 'due_at', a.due_at)
  redis.call('ZADD', key.due, a.due_at + GRACE, a.id)
  if a.outage and not a.floor and to.active then
    redis.call('ZADD', LATER, redis.call('HGET', KEYS[1], 'accepted_at'), a.id)
  end
  if to.rate > 0 and a.limited then redis.call('HSET', GATE, 'tokens', math.min(tokens(), 0), 'tokens_at', a.now) end
end
-- The failure says nothing about the credentials, so the next operation tries them. Only one is woken: a thousand would each
-- wake all the others.
if cause == 'trial' and not opened then
  redis.call('HDEL', GATE, 'cause', 'until')
  pump(1)
elseif not open then pump_all() end
if a.wake_at then
  if a.wake_at > 0 then redis.call('ZADD', key.wake_schedule, a.wake_at, wake_message(a.id)) else wake(a.id) end
end
return opened and 'opened' or 'recorded'
