-- Record a new operation, and lease it to the caller or wake a worker, in one step.
-- Arguments:
--   id           operation
--   now          time at which it was accepted
--   alarm        time at which a sweep looks at it
--   lease        lease for the caller, '': a worker is woken instead
--   lease_until  end of that lease
--   kind         kind of the operation
--   digest       digest of the submission, '': it has no idempotency key
--   key          digest of the idempotency key
--   former       digest of that key as the previous version of crmgate computed it, '': the same
--   seconds      seconds for which both are kept
--   keyed        false: it has no idempotency key, and `key` is a digest of its content
--   session      session of the submission, absent: none
--   session.key      digest of the session
--   session.who      digests of the email and phone of the submission
--   session.own      digest of the session that it gets if the lead of its session is another person's
--   session.follow   kind of the operation if the session has a lead already, '' if the CRM does not support it
--   session.seconds  seconds for which the session is kept
--   patience     seconds until an operation that waits for an earlier one is checked
--   settle       seconds for which the CRM may be processing a request
--   suspect      true: kept aside until a person releases it
--   to           provider
-- ARGV[2]: payload
-- Answers {result, id, kind, lead id}: 'leased', 'accepted', 'held' (recorded; nothing is sent to its provider now), 'behind'
-- (recorded; waits for an earlier operation of its session), 'suspect' or 'exists'. For an idempotency key that was used
-- before: 'replay', 'running' or 'conflict'.
local function submission(digest) return digest ~= '' and redis.call('GET', key.idem .. digest) end

local function seen_as()
  if a.digest == '' then return nil end
  -- A key without a scope of the previous version: another sender may have used the same one with other content.
  local former = submission(a.former)
  if former and string.sub(former, -#a.digest) ~= a.digest then former = nil end
  return submission(a.key) or former
end

local function remember()
  if a.digest ~= '' then redis.call('SET', key.idem .. a.key, a.id .. ' ' .. a.digest, 'EX', a.seconds) end
end

local function shares(who, digests)
  for _, digest in ipairs(digests) do
    if string.find(who, digest, 1, true) then return true end
  end
  return false
end

-- The session of an application: one of its own if the lead of its session is another person's.
local function visit_of_application()
  local first, minimal, who = unpack(redis.call('HMGET', session(a.session.key), 'first', 'minimal', 'who'))
  if not first or minimal == '1' or shares(who or '', a.session.who) then return a.session.key end
  return a.session.own
end

-- The digests of a session's person with those of another submission. The first ones stay, so that nobody pushes them out.
local function joined(who, digests)
  for _, digest in ipairs(digests) do
    if #who < 8 * #digest and not shares(who, {digest}) then who = who == '' and digest or who .. ' ' .. digest end
  end
  return who
end

local seen = seen_as()
if seen then
  local id, digest = string.match(seen, '^(%S+) (%S+)$')
  if id ~= a.id and redis.call('EXISTS', op(id)) == 1 then
    if digest ~= a.digest then return {'conflict', id} end
    local lease, inline, till = unpack(redis.call('HMGET', op(id), 'lease', 'inline', 'lease_until'))
    return {lease and lease == inline and tonumber(till) > a.now and 'running' or 'replay', id}
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then  -- sent again, because the answer was lost
  local lease, kind, lead = unpack(redis.call('HMGET', KEYS[1], 'lease', 'kind', 'lead_id'))
  return {a.lease ~= '' and lease == a.lease and 'leased' or 'exists', a.id, kind, lead or ''}
end

-- Indexes for operators: by time, and by the beginning of the id (crmgate.operators.inventory).
redis.call('ZADD', key.ops, a.now, a.id)
redis.call('ZADD', key.ids, 0, a.id)
if a.suspect then
  if a.keyed then remember() end  -- the content of a suspect is not remembered: a robot could block the same of a person
  redis.call('HSET', KEYS[1], 'kind', a.kind, 'payload', ARGV[2], 'accepted_at', a.now, 'state', 'suspect')
  redis.call('ZADD', key.suspect, a.now, a.id)
  redis.call('HINCRBY', key.stats, 'suspect', 1)
  return {'suspect', a.id, a.kind, ''}
end
local kind, lead, behind = a.kind, '', false
local makes_lead, minimal = not kinds[kind].needs_lead, kinds[kind].minimal
if a.session then
  local application = makes_lead and not minimal
  local visit = application and visit_of_application() or a.session.key
  local S = session(visit)
  local first, provider, record, stand_in, who, tail =
    unpack(redis.call('HMGET', S, 'first', 'provider', 'record', 'minimal', 'who', 'tail'))
  -- The session's lead is used unless another CRM has it.
  local known = first and (not provider or provider == to.provider)
  if known and minimal and a.session.follow == '' then return {'replay', first} end
  if application then
    local before = first and stand_in == '0' and who or ''
    redis.call('HSET', S, 'minimal', '0', 'who', joined(before, a.session.who))
  end
  if known and a.session.follow ~= '' then
    kind, lead = a.session.follow, record or ''
  else
    redis.call('HDEL', S, 'provider', 'record')
    redis.call('HSET', S, 'first', a.id, 'minimal', minimal and '1' or '0')
  end
  if tail and not ended(redis.call('HGET', op(tail), 'state')) then
    behind = tail
    redis.call('HSET', op(tail), 'ahead_of', a.id)
  end
  redis.call('HSET', S, 'tail', a.id)
  redis.call('EXPIRE', S, a.session.seconds)
  redis.call('HSET', KEYS[1], 'session', visit)
end

remember()
redis.call('HSET', KEYS[1], 'kind', kind, 'payload', ARGV[2], 'accepted_at', a.now)
if lead ~= '' then redis.call('HSET', KEYS[1], 'lead_id', lead, 'provider', to.provider) end
redis.call('HINCRBY', key.stats, 'accepted', 1)
if behind then
  -- `after` is for the previous version of crmgate: its workers must keep the order, too, during an upgrade (see renew).
  redis.call('HSET', KEYS[1], 'state', 'waiting', 'behind', behind, 'after', behind)
  redis.call('ZADD', key.due, a.now + a.patience, a.id)
  return {'behind', a.id, kind, lead}
end
-- A visitor's request is never used as a probe: while the gate is shut, or lets one operation through, it waits.
local slots = redis.call('HGET', GATE, 'cause') and 0 or room()
if a.lease == '' then slots = slots - redis.call('LLEN', key.wake_list) end
if slots < 1 then
  hold(a.id)
  return {'held', a.id, kind, lead}
end
redis.call('ZADD', key.due, a.alarm, a.id)
if a.lease ~= '' then
  begin(a.lease, a.lease_until)
  redis.call('HSET', KEYS[1], 'state', 'delivering', 'lease', a.lease, 'lease_until', a.lease_until, 'inline', a.lease,
    'settles_at', a.now + a.settle)
  return {'leased', a.id, kind, lead}
end
redis.call('HSET', KEYS[1], 'state', 'accepted')
wake(a.id)
return {'accepted', a.id, kind, lead}
