-- Take the lease on an operation that may be attempted now.
-- Arguments:
--   id           operation
--   lease        lease that the caller takes
--   lease_seconds  duration of that lease
--   patience     seconds until an operation that waits for an earlier one is checked again
--   settle       seconds for which the CRM may be processing a request
--   supported    kinds of operations that the CRM supports: true, by name
--   keys         keys that the caller has for payloads: true, by id
--   to           provider
-- Answers {'claimed', time of the claim, 1 if the CRM has to be searched first, time until which it may be processing an
-- earlier request, field, value ...} or {reason, more}: 'elsewhere' names the CRM with the record, 'behind' the operation
-- that it waits for, 'locked' the key of its payload (crmgate.store.vault).
despite_full()
renew(a.id)
local ends = a.now + a.lease_seconds
local state, lease, till, due, verdict, kind, visit, lines, persons = unpack(redis.call('HMGET', KEYS[1],
  'state', 'lease', 'lease_until', 'due_at', 'verdict', 'kind', 'session', 'lines', 'persons'))
if ended(state) or state == 'dead' or state == 'suspect' then
  for _, set in ipairs({key.due, HELD, TRIED, LATER}) do redis.call('ZREM', set, a.id) end
  return {state or 'unknown'}
end
if verdict == 'dead' then return {'exhausted'} end
local mine = lease == a.lease
if lease and not mine and tonumber(till) > a.now then return {'leased'} end
if due and tonumber(due) > a.now then
  redis.call('ZADD', key.due, due + GRACE, a.id)
  return {'early'}
end
local behind = look_ahead(a.id)
if behind then
  redis.call('ZADD', key.due, a.now + a.patience, a.id)
  pump_all()
  return {'behind', behind}
end
-- The caller lacks the key of the payload. The operation stays in its lines, uses up no retry, and is looked at again later.
local sealed_with = string.match(redis.call('HGET', KEYS[1], 'payload') or '', '^sealed:(%x+):')
if sealed_with and not a.keys[sealed_with] then
  if lease then
    redis.call('HSET', KEYS[1], 'state', 'waiting', 'look', '1')
    redis.call('HDEL', KEYS[1], 'lease', 'lease_until')
  end
  for _, set in ipairs({HELD, TRIED, LATER}) do redis.call('ZREM', set, a.id) end
  redis.call('ZADD', key.due, a.now + a.patience, a.id)
  pump_all()
  return {'locked', sealed_with}
end
local traits = kinds[kind] or {}  -- a kind that only a newer version knows: Python decides about it
if traits.needs_lead then
  local provider, record = unpack(redis.call('HMGET', KEYS[1], 'provider', 'lead_id'))
  if visit then provider, record = unpack(redis.call('HMGET', session(visit), 'provider', 'record')) end
  if not record then  -- the operation that should have made the lead is dead or discarded: this one makes it
    redis.call('HSET', KEYS[1], 'kind', traits.without_lead)
    redis.call('HDEL', KEYS[1], 'provider', 'lead_id')
    if visit and redis.call('EXISTS', session(visit)) == 1 then make_lead_of(visit, a.id, traits.without_lead) end
  elseif provider ~= to.provider then return {'elsewhere', provider}
  else redis.call('HSET', KEYS[1], 'provider', provider, 'lead_id', record) end
elseif visit then
  -- A dead letter that returns, when a later operation of its session has made the lead. An earlier attempt may have made
  -- one, too: it is looked for as `sent_as`. Or a suspect that an operator has released.
  local first, provider, record, stand_in, who =
    unpack(redis.call('HMGET', session(visit), 'first', 'provider', 'record', 'minimal', 'who'))
  local known = record and first ~= a.id and provider == to.provider and a.supported[traits.with_lead]
  if known and (traits.minimal or stand_in == '1' or is_of(who, (lines or '') .. ' ' .. (persons or ''))) then
    redis.call('HSET', KEYS[1], 'kind', traits.with_lead, 'sent_as', kind, 'provider', provider, 'lead_id', record)
    if not traits.minimal and stand_in == '1' then  -- the lead of a click becomes this person's
      redis.call('HSET', session(visit), 'minimal', '0', 'who', persons or plain_of(lines, visit))
      keep_session_in_index(persons, visit, redis.call('TTL', session(visit)))
    end
  end
end
if not mine then
  if shut() or room() < 1 then
    hold(a.id)
    return {'held'}
  end
  begin(a.lease, ends)
end
local look, settles = unpack(redis.call('HMGET', KEYS[1], 'look', 'settles_at'))
if lease then look = '1' end  -- an earlier holder never recorded its outcome
look = look or '0'
settles = math.min(tonumber(settles or 0), a.now + a.settle)  -- later only if Redis's clock was set back
if not mine then redis.call('HSET', KEYS[1], 'settles_at', a.now + a.settle) end
redis.call('HSET', KEYS[1], 'state', 'delivering', 'lease', a.lease, 'lease_until', ends, 'look', look)
redis.call('ZADD', key.due, ends, a.id)
for _, set in ipairs({HELD, TRIED, LATER}) do redis.call('ZREM', set, a.id) end
return {'claimed', string.format('%.17g', a.now), look, string.format('%.17g', settles), unpack(redis.call('HGETALL', KEYS[1]))}
