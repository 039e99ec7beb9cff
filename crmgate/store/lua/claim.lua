-- Take the lease on an operation that may be tried now.
-- a: id, now, lease, lease_until, pause (seconds between two tries of refused credentials), patience, settle (seconds for
--    which the CRM may be at work on a request)
-- Answers {'claimed', 0|1 (look in the CRM first), until when it may be at work on an earlier request, field, value ...} or {reason, more}: 'elsewhere' names the CRM that
-- holds the record, 'behind' the operation that goes first.
despite_full()
local state, lease, till, due, verdict, after, kind, key =
  unpack(redis.call('HMGET', KEYS[1], 'state', 'lease', 'lease_until', 'due_at', 'verdict', 'after', 'kind', 'session'))
if ended(state) or state == 'dead' or state == 'suspect' then
  redis.call('ZREM', DUE, a.id)
  redis.call('ZREM', HELD, a.id)
  return {state or 'unknown'}
end
if verdict == 'dead' then return {'exhausted'} end
local mine = lease == a.lease
if lease and not mine and tonumber(till) > a.now then return {'leased'} end
if due and tonumber(due) > a.now then
  redis.call('ZADD', DUE, due + a.grace, a.id)
  return {'early'}
end
if after and not ended(redis.call('HGET', op(after), 'state')) then
  redis.call('ZADD', DUE, a.now + a.patience, a.id)
  return {'behind', after}
end
if kind == 'update_lead' or kind == 'log_activity' then
  local provider, record = unpack(redis.call('HMGET', KEYS[1], 'provider', 'lead_id'))
  if key then provider, record = unpack(redis.call('HMGET', session(key), 'provider', 'record')) end
  if not record then  -- the one that should have made the lead was discarded: this one makes it
    kind = kind == 'update_lead' and 'create_lead' or 'create_minimal_lead'
    redis.call('HSET', KEYS[1], 'kind', kind)
    if key then redis.call('HSET', session(key), 'first', a.id) end
  elseif provider ~= to.provider then return {'elsewhere', provider}
  else redis.call('HSET', KEYS[1], 'provider', provider, 'lead_id', record) end
end
if not mine then
  if shut() or room() < 1 then
    hold(a.id)
    return {'held'}
  end
  begin(a.lease, a.lease_until)
end
local look, settles = unpack(redis.call('HMGET', KEYS[1], 'look', 'settles_at'))
if lease then look = '1' end  -- somebody held it and never said what became of it
look = look or '0'
if not mine then redis.call('HSET', KEYS[1], 'settles_at', a.now + a.settle) end
redis.call('HSET', KEYS[1], 'state', 'delivering', 'lease', a.lease, 'lease_until', a.lease_until, 'look', look)
redis.call('ZADD', DUE, a.lease_until, a.id)
redis.call('ZREM', HELD, a.id)
redis.call('ZREM', LATER, a.id)
return {'claimed', look, settles or '0', unpack(redis.call('HGETALL', KEYS[1]))}
