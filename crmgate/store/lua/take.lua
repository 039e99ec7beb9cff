-- The lease on an operation, for claim.lua, record.lua and batch.lua. It stands between person.lua and each script.

-- Take the lease on an operation that may be attempted now. `claim` is described in common.lua.
-- Answers {'claimed', id, time of the claim, 1 if the CRM has to be searched first, time until which it may be processing an
-- earlier request, field, value ...} or {reason, more}: 'elsewhere' names the CRM with the record, 'behind' the operation
-- that it waits for, 'locked' the key of its payload (crmgate.store.vault). With `joins` the operation is sent together with
-- one that was taken before: it takes no slot and no requests of its own.
local function take(id, claim, joins)
  renew(id)
  local ends = a.now + claim.seconds
  local state, lease, till, due, verdict, kind, visit, lines, persons = unpack(redis.call('HMGET', op(id),
    'state', 'lease', 'lease_until', 'due_at', 'verdict', 'kind', 'session', 'lines', 'persons'))
  if ended(state) or state == 'dead' or state == 'suspect' then
    for _, set in ipairs({key.due, HELD, TRIED, LATER}) do redis.call('ZREM', set, id) end
    return {state or 'unknown'}
  end
  if verdict == 'dead' then return {'exhausted'} end
  local mine = lease == claim.lease
  if lease and not mine and tonumber(till) > a.now then return {'leased'} end
  if due and tonumber(due) > a.now then
    redis.call('ZADD', key.due, due + GRACE, id)
    return {'early'}
  end
  local behind = look_ahead(id)
  if behind then
    redis.call('ZADD', key.due, a.now + claim.patience, id)
    pump_all()
    return {'behind', behind}
  end
  -- The caller lacks the key of the payload. The operation stays in its lines, uses up no retry, and is looked at again
  -- later.
  local sealed_with = string.match(redis.call('HGET', op(id), 'payload') or '', '^sealed:(%x+):')
  if sealed_with and not claim.keys[sealed_with] then
    if lease then
      redis.call('HSET', op(id), 'state', 'waiting', 'look', '1')
      redis.call('HDEL', op(id), 'lease', 'lease_until')
    end
    for _, set in ipairs({HELD, TRIED, LATER}) do redis.call('ZREM', set, id) end
    redis.call('ZADD', key.due, a.now + claim.patience, id)
    pump_all()
    return {'locked', sealed_with}
  end
  local traits = kinds[kind] or {}  -- a kind that only a newer version knows: Python decides about it
  if traits.needs_lead then
    local provider, record = unpack(redis.call('HMGET', op(id), 'provider', 'lead_id'))
    if visit then provider, record = unpack(redis.call('HMGET', session(visit), 'provider', 'record')) end
    if not record then  -- the operation that should have made the lead is dead or discarded: this one makes it
      redis.call('HSET', op(id), 'kind', traits.without_lead)
      redis.call('HDEL', op(id), 'provider', 'lead_id')
      if visit and redis.call('EXISTS', session(visit)) == 1 then make_lead_of(visit, id, traits.without_lead) end
    elseif provider ~= to.provider then return {'elsewhere', provider}
    else redis.call('HSET', op(id), 'provider', provider, 'lead_id', record) end
  elseif visit then
    -- A dead letter that returns, when a later operation of its session has made the lead. An earlier attempt may have made
    -- one, too: it is looked for as `sent_as`. Or a suspect that an operator has released.
    local first, provider, record, stand_in, who =
      unpack(redis.call('HMGET', session(visit), 'first', 'provider', 'record', 'minimal', 'who'))
    local known = record and first ~= id and provider == to.provider and claim.supported[traits.with_lead]
    if known and (traits.minimal or stand_in == '1' or is_of(who, (lines or '') .. ' ' .. (persons or ''))) then
      redis.call('HSET', op(id), 'kind', traits.with_lead, 'sent_as', kind, 'provider', provider, 'lead_id', record)
      if not traits.minimal and stand_in == '1' then  -- the lead of a click becomes this person's
        redis.call('HSET', session(visit), 'minimal', '0', 'who', persons or plain_of(lines, visit))
        keep_session_in_index(persons, visit, redis.call('TTL', session(visit)))
      end
    end
  end
  if not mine and not joins then
    if shut() or room() < 1 then
      hold(id)
      return {'held'}
    end
    begin(claim.lease, ends)
  end
  local look, settles = unpack(redis.call('HMGET', op(id), 'look', 'settles_at'))
  if lease then look = '1' end  -- an earlier holder never recorded its outcome
  look = look or '0'
  settles = math.min(tonumber(settles or 0), a.now + claim.settle)  -- later only if Redis's clock was set back
  if not mine then redis.call('HSET', op(id), 'settles_at', a.now + claim.settle) end
  redis.call('HSET', op(id), 'state', 'delivering', 'lease', claim.lease, 'lease_until', ends, 'look', look)
  redis.call('ZADD', key.due, ends, id)
  for _, set in ipairs({HELD, TRIED, LATER}) do redis.call('ZREM', set, id) end
  local at, until_when = string.format('%.17g', a.now), string.format('%.17g', settles)
  return {'claimed', id, at, look, until_when, unpack(redis.call('HGETALL', op(id)))}
end

-- The id of the operation that a wake-up of a script is about; nil for any other message, such as a task that Huey retries.
local function woken_by(message)
  local id = string.match(message, '"id":"(%w+)"')
  return id and message == wake_message(id) and id or nil
end

-- Whether an operation may be sent together with others: it creates the lead of an application, and was not set apart.
local function may_join(id)
  local kind, alone = unpack(redis.call('HMGET', op(id), 'kind', 'alone'))
  local traits = kinds[kind]
  return traits and not traits.needs_lead and not traits.minimal and not alone
end

-- Whether nothing speaks against several operations in one request: the credentials have worked, and no trouble of the
-- provider limits the number of attempts.
local function is_steady()
  local cause, window, verified = unpack(redis.call('HMGET', GATE, 'cause', 'window', 'verified'))
  return not cause and not window and verified == to.credentials
end

-- Take operations that are sent together with `taken`, the answer of `take`: at most claim.batch, from the wake-ups and then
-- from those that wait for the provider, the oldest first. Each gets a lease of its own. Answers {'batch', taken, answer of
-- `take` ...}, or `taken` if there are none.
local function with_others(taken, claim)
  if not claim.batch or not may_join(taken[2]) or not is_steady() then return taken end
  local batch = {'batch', taken}
  local function add(id)
    local own = {}
    for name, value in pairs(claim) do own[name] = value end
    own.lease = claim.lease .. '-' .. #batch
    local other = take(id, own, true)
    if other[1] == 'claimed' then batch[#batch + 1] = other end
    return other[1]
  end
  for _ = 1, 2 * claim.batch do
    local message = #batch - 2 < claim.batch and redis.call('RPOP', key.wake_list)
    if not message then break end
    local id = woken_by(message)
    local answer = id and may_join(id) and add(id) or 'other'
    if answer == 'other' or answer == 'exhausted' or answer == 'elsewhere' then
      redis.call('RPUSH', key.wake_list, message)
      break
    end
  end
  for _, id in ipairs(redis.call('ZRANGE', HELD, 0, 2 * claim.batch)) do
    if #batch - 2 >= claim.batch then break end
    if may_join(id) and redis.call('ZREM', HELD, id) == 1 then
      local answer = add(id)
      if answer == 'exhausted' or answer == 'elsewhere' then rouse(id) end
    end
  end
  return batch[3] and batch or taken
end

-- Take the operation of the oldest wake-up that can be attempted, with others (with_others). Answers nil if there is none. A
-- message that needs Huey or Python goes back to the place that it had.
local function take_next(claim)
  for _ = 1, 10 do
    local message = redis.call('RPOP', key.wake_list)
    if not message then return nil end
    local id = woken_by(message)
    local taken = id and take(id, claim) or {'unknown message'}
    if taken[1] == 'claimed' then return with_others(taken, claim) end
    if not id or taken[1] == 'elsewhere' or taken[1] == 'exhausted' then
      redis.call('RPUSH', key.wake_list, message)
      return nil
    end
  end
end
