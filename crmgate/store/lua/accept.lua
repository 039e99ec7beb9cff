-- Record a new operation and, where asked, lease it to the caller or wake a worker: all of it or nothing.
-- a: id, now, alarm, lease ('': none), lease_until, kind, digest ('': no idempotency key), key, seconds that it is kept,
--    session (key, follow: the kind where its lead is known, '' if the CRM cannot; who: digests of email and phone; seconds)
--    settle (seconds for which the CRM may be at work on a request),
--    suspect (true: kept aside until a person releases it)
-- ARGV[2]: payload
-- Answers {what, id of the operation, kind, lead id}: 'leased', 'accepted', 'held' (recorded; its provider takes nothing
-- now), 'behind' (recorded; an earlier one of its session goes first), 'suspect' or 'exists'; of a key that was used before
-- 'replay', 'running' or 'conflict'.
local seen = a.digest ~= '' and redis.call('GET', P .. 'idem:' .. a.key)
if seen then
  local id, digest = string.match(seen, '^(%S+) (%S+)$')
  if id ~= a.id and redis.call('EXISTS', op(id)) == 1 then
    if digest ~= a.digest then return {'conflict', id} end
    local lease, inline, till = unpack(redis.call('HMGET', op(id), 'lease', 'inline', 'lease_until'))
    return {lease and lease == inline and tonumber(till) > a.now and 'running' or 'replay', id}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then  -- asked again, because the answer was lost
  local lease, kind, lead = unpack(redis.call('HMGET', KEYS[1], 'lease', 'kind', 'lead_id'))
  return {a.lease ~= '' and lease == a.lease and 'leased' or 'exists', a.id, kind, lead or ''}
end

-- Where operators find it again: by time, and by the beginning of its id (crmgate.operators.inventory).
redis.call('ZADD', P .. 'ops', a.now, a.id)
redis.call('ZADD', P .. 'ids', 0, a.id)
if a.suspect then
  redis.call('HSET', KEYS[1], 'kind', a.kind, 'payload', ARGV[2], 'accepted_at', a.now, 'state', 'suspect')
  redis.call('ZADD', SUSPECT, a.now, a.id)
  redis.call('HINCRBY', STATS, 'suspect', 1)
  return {'suspect', a.id, a.kind, ''}
end
local kind, lead, after = a.kind, '', false
if a.session then
  local S = session(a.session.key)
  local first, provider, record, minimal, who, tail =
    unpack(redis.call('HMGET', S, 'first', 'provider', 'record', 'minimal', 'who', 'tail'))
  -- Its lead is in use unless it is another CRM's, or somebody else applies from the same browser.
  local known = first and (not provider or provider == to.provider)
  if known and kind == 'create_lead' and minimal ~= '1' then
    known = false
    for _, digest in ipairs(a.session.who) do known = known or string.find(who or '', digest, 1, true) end
  end
  if known and kind == 'create_minimal_lead' and a.session.follow == '' then return {'replay', first} end
  if kind == 'create_lead' then
    redis.call('HSET', S, 'minimal', '0', 'who', table.concat(a.session.who, ' '))
  end
  if known and a.session.follow ~= '' then
    kind, lead = a.session.follow, record or ''
  else
    redis.call('HDEL', S, 'provider', 'record')
    redis.call('HSET', S, 'first', a.id, 'minimal', kind == 'create_minimal_lead' and '1' or '0')
  end
  if tail and not ended(redis.call('HGET', op(tail), 'state')) then
    after = tail
    redis.call('HSET', op(tail), 'next', a.id)
  end
  redis.call('HSET', S, 'tail', a.id)
  redis.call('EXPIRE', S, a.session.seconds)
  redis.call('HSET', KEYS[1], 'session', a.session.key)
end

if a.digest ~= '' then redis.call('SET', P .. 'idem:' .. a.key, a.id .. ' ' .. a.digest, 'EX', a.seconds) end
redis.call('HSET', KEYS[1], 'kind', kind, 'payload', ARGV[2], 'accepted_at', a.now)
if lead ~= '' then redis.call('HSET', KEYS[1], 'lead_id', lead, 'provider', to.provider) end
redis.call('HINCRBY', STATS, 'accepted', 1)
if after then
  redis.call('HSET', KEYS[1], 'state', 'waiting', 'after', after)
  redis.call('ZADD', DUE, a.now + a.patience, a.id)
  return {'behind', a.id, kind, lead}
end
-- A probe is the worker's to make: a visitor's request would only find out the same once more.
local free = redis.call('HGET', GATE, 'cause') and 0 or room()
if a.lease == '' then free = free - redis.call('LLEN', WAKES) end
if free < 1 then
  hold(a.id)
  return {'held', a.id, kind, lead}
end
redis.call('ZADD', DUE, a.alarm, a.id)
if a.lease ~= '' then
  begin(a.lease, a.lease_until)
  redis.call('HSET', KEYS[1], 'state', 'delivering', 'lease', a.lease, 'lease_until', a.lease_until, 'inline', a.lease,
    'settles_at', a.now + a.settle)
  return {'leased', a.id, kind, lead}
end
redis.call('HSET', KEYS[1], 'state', 'accepted')
wake(a.id)
return {'accepted', a.id, kind, lead}
