-- Record the outcome of an attempt and all its consequences in one step.
-- Arguments:
--   id               operation
--   lease            lease of the attempt
--   outcome          'delivered', 'waiting', 'dead' or 'held' (waits for the gate of its provider)
--   event            event of the gate (gate.lua), absent: the attempt says nothing about the provider
--   counted          true: the attempt uses up a retry
--   delay            waiting: seconds until the next attempt
--   look             not delivered: '1' if the CRM has to be searched before the next attempt, else '0'
--   wake             true: this script schedules the next attempt, else the caller does
--   remake           dead: whether the operation makes another lead, because its lead is gone: 'always', '' (no), or 'once'
--                    (not if its lead was made so itself)
--   receipt          delivered: what the CRM confirmed, as JSON
--   record           delivered: id of the record in the CRM
--   keep             delivered: seconds for which the payload is kept, 0: it is removed at once
--   receipt_seconds  seconds for which a receipt is kept
--   session_seconds  seconds for which a session is kept
--   used             number of requests that were sent
--   reserved         false: no requests were set aside for the attempt (a part of a batch, see batch.lua)
--   outage           true: the failure says that the CRM is unavailable
--   floor            true: the next attempt is not made before its time, even if an outage ends
--   final            true: the operation may have arrived, and only an operator may send it again
--   settle           seconds for which the CRM may be processing the request, 0: it is not
--   settles_at       settle is 0: time until which it may be processing an earlier one, 0: it is not
--   figures          counters of crmgate.store.figures: number to add, by name
--   claim            delivered: lease on the next operation, absent: the caller takes none
--   to               provider
-- ARGV[2]: event that is added to its history
-- Answers {outcome, announcement, cause, next}. The outcome is as recorded: a gate that is shut turns 'dead' and 'waiting' into
-- 'held', a refusal of one record turns 'held' into 'dead', and `remake` turns 'dead' into 'again' (the next attempt follows
-- at once). Or it is 'lost' (another one has the lease) or 'ended' (the
-- operation had ended before). The announcement is 'paused', 'recovered' or ''. The cause is that of the gate, or ''.
-- `next` is the operation that the caller attempts next (take.lua), absent: none.
despite_full()
redis.call('ZREM', SLOTS, a.lease)
if a.reserved then spend(a.used - to.reserve) end
local state, holder, visit, refused_at, labels =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'lease', 'session', 'refused_at', 'labels'))
if ended(state) then return {'ended', '', ''} end
-- A confirmation of the CRM is recorded even if another caller has the lease by now; only the holder may record a failure.
if a.outcome ~= 'delivered' and holder ~= a.lease then return {'lost', '', ''} end
note(a.id, ARGV[2])
if a.counted then redis.call('HINCRBY', KEYS[1], 'counted', 1) end
for name, number in pairs(a.figures) do redis.call('HINCRBY', key.attempts, name, number) end
-- The lead of the operation is gone: let the operation make another one. Answers whether it is to be tried again.
local function remake()
  local kind, lead, its_session = unpack(redis.call('HMGET', KEYS[1], 'kind', 'lead_id', 'session'))
  local first, record
  if its_session then first, record = unpack(redis.call('HMGET', session(its_session), 'first', 'record')) end
  if record and record ~= lead then return true end  -- the session has another one by now
  if a.remake == 'once' and first and redis.call('HEXISTS', op(first), 'remade') == 1 then return false end
  local makes = kinds[kind].without_lead
  redis.call('HSET', KEYS[1], 'kind', makes, 'remade', '1')
  redis.call('HDEL', KEYS[1], 'provider', 'lead_id', 'counted', 'sent_as')
  if record then make_lead_of(its_session, a.id, makes) end
  return true
end

local again = a.outcome == 'dead' and a.remake ~= '' and remake()
local effect = {}
if again and a.event then a.event.refusal = '' end  -- no refusal that other operations could share
if a.event then
  a.event.id, a.event.refused_at = a.id, tonumber(refused_at or nil)
  effect = judge(a.event)
end

local function answer(outcome)
  return {outcome, effect.announce or '', redis.call('HGET', GATE, 'cause') or ''}
end

if a.outcome == 'delivered' then
  local payload = a.keep > 0 and redis.call('HGET', KEYS[1], 'payload')
  if payload then redis.call('SET', key.kept .. a.id, payload, 'EX', a.keep) end
  redis.call('HSET', KEYS[1], 'state', 'delivered', 'delivered', a.receipt)
  redis.call('HDEL', KEYS[1], 'payload', 'lease', 'lease_until', 'look', 'due_at', 'verdict', 'inline', 'cause', 'dead_at',
    'settles_at', 'refused_at', 'sent_as', 'labels', 'alone')
  redis.call('EXPIRE', KEYS[1], a.receipt_seconds)
  for _, set in ipairs({key.due, HELD, TRIED, LATER, key.dead, key.returning}) do redis.call('ZREM', set, a.id) end
  unfile(a.id)
  redis.call('HINCRBY', key.stats, 'delivered', 1)
  count_hour('delivered')
  if labels then count_day('delivered', labels) end
  happened('delivered', a.id, to.provider)
  if visit then
    local first, record = unpack(redis.call('HMGET', session(visit), 'first', 'record'))
    if first == a.id or record == a.record then
      redis.call('HSET', session(visit), 'provider', to.provider, 'record', a.record)
      redis.call('EXPIRE', session(visit), a.session_seconds)
      keep_session_in_index(redis.call('HGET', session(visit), 'who'), visit, a.session_seconds)
    end
  end
  leave(a.id)
  end_in_index(a.id, a.receipt_seconds)
  hurry()
  pump_all()
  local recorded = answer('delivered')
  recorded[4] = a.claim and take_next(a.claim)
  return recorded
end

redis.call('HDEL', KEYS[1], 'lease', 'lease_until')
redis.call('HSET', KEYS[1], 'look', a.look, 'state', 'waiting',
  'settles_at', a.settle > 0 and a.now + a.settle or a.settles_at)
local outcome = a.outcome
if effect.dead then outcome = 'dead' end
if effect.hold and not a.final and not (outcome == 'waiting' and a.floor) then outcome = 'held' end
if again then outcome = 'again' end

-- The other operations of the same epidemic, which became dead letters before it was detected.
for _, id in ipairs(effect.returning or {}) do
  local their_state, their_verdict = unpack(redis.call('HMGET', op(id), 'state', 'verdict'))
  if their_state == 'dead' or their_verdict == 'dead' then redis.call('HSET', op(id), 'cause', 'epidemic') end
  if their_state == 'dead' then let_return(id) end
end

if outcome == 'held' then
  if a.event.what == 'login_refused' then redis.call('HSET', KEYS[1], 'refused_at', a.now) end
  if a.event.what == 'limited' and to.rate > 0 then
    redis.call('HSET', GATE, 'tokens', math.min(tokens(), 0), 'tokens_at', a.now)
  end
  hold(a.id, TRIED)
elseif outcome == 'again' then
  redis.call('HDEL', KEYS[1], 'due_at')
  redis.call('ZADD', key.due, a.now + GRACE, a.id)
  if a.wake then wake(a.id) end
elseif outcome == 'dead' then
  redis.call('HSET', KEYS[1], 'verdict', 'dead', 'cause', a.outage and 'outage' or '')
  redis.call('ZADD', key.due, a.now + GRACE, a.id)
  if a.wake then wake(a.id) end
else
  local due = a.now + a.delay
  redis.call('HSET', KEYS[1], 'due_at', due)
  redis.call('ZADD', key.due, due + GRACE, a.id)
  if a.outage and not a.floor and to.active then
    redis.call('ZADD', LATER, redis.call('HGET', KEYS[1], 'accepted_at'), a.id)
  end
  if a.wake then redis.call('ZADD', key.wake_schedule, due, wake_message(a.id)) end
end
pump_all()
return answer(outcome)
