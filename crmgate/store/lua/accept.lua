-- Record a new operation, and lease it to the caller or wake a worker, in one step.
-- Arguments:
--   id           operation
--   alarm        seconds until a sweep looks at it
--   lease        lease for the caller, '': a worker is woken instead
--   lease_seconds  duration of that lease
--   kind         kind of the operation
--   digest       digest of the submission, '': it has no idempotency key
--   key          digest of the idempotency key
--   former       digest of that key as the previous version of crmgate computed it, '': the same
--   seconds      seconds for which both are kept
--   keyed        false: it has no idempotency key, and `key` is a digest of its content
--   session      session of the submission, absent: none
--   session.key      digest of the session
--   session.own      digest of the session that it gets if the lead of its session is another person's
--   session.follow   kind of the operation if the session has a lead already, '' if the CRM does not support it
--   session.seconds  seconds for which the session is kept
--   people       digests of the email and phone of the submission
--   person_key   secret key of the index of persons if Redis has none yet (person.lua)
--   patience     seconds until an operation that waits for an earlier one is checked
--   settle       seconds for which the CRM may be processing a request
--   suspect      cause for which it is kept aside until a person releases it, '': none
--   waited       seconds since it was accepted, if it comes from the spool
--   same_seconds  seconds for which its id leads to the operation that it repeats, 0: not at all
--   labels       values that it is counted by, one `dimension|value` per line (crmgate.store.tallies)
--   refusing     uses of rate limits (meter.lua): a submission that exceeds one is refused
--   reviewing    other uses: a submission that exceeds one of them is a suspect
--                if one is not for replays, it does not count for an idempotency key that is known
--   to           provider
-- ARGV[2]: payload
-- Answers {result, id, kind, lead id, time of acceptance}: 'leased', 'accepted', 'held' (recorded; nothing is sent to its
-- provider now), 'behind' (recorded; waits for an earlier operation about the same person), 'suspect' or 'exists'. For an
-- idempotency key that was used before: 'replay', 'running' or 'conflict'. {'limited', id, seconds to wait}: a limit was
-- exceeded, and nothing was recorded.
local accepted_at, till = a.now - a.waited, a.now + a.lease_seconds
local at = string.format('%.17g', accepted_at)
local people, persons = table.concat(a.people, ' '), ''

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

-- The session of an application: one of its own if the lead of its session is another person's.
local function visit_of_application()
  local first, minimal, who = unpack(redis.call('HMGET', session(a.session.key), 'first', 'minimal', 'who'))
  if not first or minimal == '1' or is_of(who, people .. ' ' .. persons) then return a.session.key end
  return a.session.own
end

-- The digests of a session's person with those of another submission. The first ones stay, so that nobody pushes them out.
local function joined(who)
  for digest in each_person(persons) do
    if #who < 8 * #digest and not is_of(who, digest) then who = who == '' and digest or who .. ' ' .. digest end
  end
  return who
end

-- The clicks of a session that are under way are about the person who applies in it.
local function assign_clicks(visit, who)
  for _, id in ipairs(redis.call('ZRANGE', line(visit), 0, 99)) do
    if redis.call('HEXISTS', op(id), 'persons') == 0 then assign(id, who) end
  end
end

-- What an earlier operation answers for it.
local function repeats(what, id)
  if a.same_seconds > 0 then redis.call('SET', key.same .. a.id, id, 'EX', a.same_seconds) end
  return {what, id}
end

-- The uses of `reviewing` that count for this submission.
local function uses_to_review()
  local known = a.keyed and redis.call('EXISTS', key.idem .. a.key) == 1
  local uses = {}
  for _, use in ipairs(a.reviewing) do
    if use[4] or not known then uses[#uses + 1] = use end
  end
  return uses
end

local recorded = redis.call('EXISTS', KEYS[1]) == 1
if not recorded then  -- else it was counted the first time
  local wait = count_uses(a.refusing, a.now)
  if wait > 0 then return {'limited', a.id, string.format('%.3f', wait)} end
  if a.suspect == '' and count_uses(uses_to_review(), a.now) > 0 then a.suspect = 'over_limit' end
end
local seen = seen_as()
if seen then
  local id, digest = string.match(seen, '^(%S+) (%S+)$')
  if id ~= a.id and redis.call('EXISTS', op(id)) == 1 then
    if digest ~= a.digest then return {'conflict', id} end
    local lease, inline, ends = unpack(redis.call('HMGET', op(id), 'lease', 'inline', 'lease_until'))
    return repeats(lease and lease == inline and tonumber(ends) > a.now and 'running' or 'replay', id)
  end
end
if recorded then  -- sent again, because the answer was lost
  local lease, kind, lead, before, state =
    unpack(redis.call('HMGET', KEYS[1], 'lease', 'kind', 'lead_id', 'accepted_at', 'state'))
  local what = state == 'suspect' and state or a.lease ~= '' and lease == a.lease and 'leased' or 'exists'
  return {what, a.id, kind, lead or '', before}
end

persons = keyed(people, a.person_key)
-- Indexes for operators: by time, by the beginning of the id (crmgate.operators.inventory), and by person.
redis.call('ZADD', key.ops, accepted_at, a.id)
redis.call('ZADD', key.ids, 0, a.id)
if a.suspect ~= '' then
  if a.keyed then remember() end  -- the content of a suspect is not remembered: a robot could block the same of a person
  local lines = people
  if a.session then  -- read when it is released (claim.lua); a suspect changes no session
    redis.call('HSET', KEYS[1], 'session', a.session.key)
    lines = a.session.key .. ' ' .. people
  end
  redis.call('HSET', KEYS[1], 'kind', a.kind, 'payload', ARGV[2], 'accepted_at', at, 'state', 'suspect', 'lines', lines,
    'labels', a.labels, 'suspicion', a.suspect)
  redis.call('ZADD', key.suspect, accepted_at, a.id)
  assign(a.id, persons)
  redis.call('HINCRBY', key.stats, 'suspect', 1)
  redis.call('HINCRBY', key.stats, 'suspect:' .. a.suspect, 1)
  return {'suspect', a.id, a.kind, '', at}
end
local kind, lead, lines = a.kind, '', people
local makes_lead, minimal = not kinds[kind].needs_lead, kinds[kind].minimal
if a.session then
  local application = makes_lead and not minimal
  local visit = application and visit_of_application() or a.session.key
  local S = session(visit)
  local first, provider, record, stand_in, who, tail, clicked =
    unpack(redis.call('HMGET', S, 'first', 'provider', 'record', 'minimal', 'who', 'tail', 'clicked'))
  bring_in(tail, visit)
  -- The session's lead is used unless another CRM has it. If it was not made, and no operation is under way that could make
  -- it, this one does.
  local known = first and (not provider or provider == to.provider) and (record or one_before(visit))
  if known and minimal and a.session.follow == '' then return repeats('replay', first) end
  if application then
    who = joined(first and stand_in == '0' and who or '')
    redis.call('HSET', S, 'minimal', '0', 'who', who)
    assign_clicks(visit, who)
    if clicked then
      count_day('applied', clicked)
      redis.call('HDEL', S, 'clicked')
    end
  else
    persons = who or ''
    if minimal then redis.call('HSET', S, 'clicked', a.labels) end
  end
  keep_session_in_index(who, visit, a.session.seconds)
  if known and a.session.follow ~= '' then
    kind, lead = a.session.follow, record or ''
  else
    make_lead_of(visit, a.id, kind)
  end
  redis.call('HSET', S, 'tail', a.id)  -- for processes of the previous version (see bring_in)
  redis.call('EXPIRE', S, a.session.seconds)
  redis.call('HSET', KEYS[1], 'session', visit)
  lines = visit .. ' ' .. people
end

remember()
redis.call('HSET', KEYS[1], 'kind', kind, 'payload', ARGV[2], 'accepted_at', at, 'lines', lines,
  'labels', minimal and '' or a.labels)
if lead ~= '' then redis.call('HSET', KEYS[1], 'lead_id', lead, 'provider', to.provider) end
redis.call('HINCRBY', key.stats, 'accepted', 1)
count_accepted(minimal, a.labels)
assign(a.id, persons)
if join(a.id) then
  redis.call('HSET', KEYS[1], 'state', 'waiting')
  redis.call('ZADD', key.due, a.now + a.patience, a.id)
  return {'behind', a.id, kind, lead, at}
end
-- A visitor's request is never used as a probe: while the gate is shut, or lets one operation through, it waits.
local slots = redis.call('HGET', GATE, 'cause') and 0 or room()
if a.lease == '' then slots = slots - redis.call('LLEN', key.wake_list) end
if slots < 1 then
  hold(a.id)
  return {'held', a.id, kind, lead, at}
end
redis.call('ZADD', key.due, a.now + a.alarm, a.id)
if a.lease ~= '' then
  begin(a.lease, till)
  redis.call('HSET', KEYS[1], 'state', 'delivering', 'lease', a.lease, 'lease_until', till, 'inline', a.lease,
    'settles_at', a.now + a.settle)
  return {'leased', a.id, kind, lead, at}
end
redis.call('HSET', KEYS[1], 'state', 'accepted')
wake(a.id)
return {'accepted', a.id, kind, lead, at}
