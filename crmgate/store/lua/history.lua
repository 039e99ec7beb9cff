-- What several scripts do with one operation: its history, the causes of dead letters, its return and its end. This file
-- stands between order.lua and person.lua.

-- Add an event to the history of an operation: its version grows. The first ten events and the last forty are kept.
local function note(id, event)
  renew(id)
  local version = redis.call('HINCRBY', op(id), 'version', 1)
  redis.call('HSET', op(id), 'event:' .. version, event)
  if version > 50 then redis.call('HDEL', op(id), 'event:' .. (version - 40)) end
end

-- Provider, code and field of the last failed attempt of an operation; empty texts if no attempt failed.
local function cause_of(id)
  renew(id)
  for number = tonumber(redis.call('HGET', op(id), 'version') or 0), 1, -1 do
    local text = redis.call('HGET', op(id), 'event:' .. number)
    local event = text and cjson.decode(text)
    if event and event.outcome == 'failed' then return {event.provider, event.code or '', event.field or ''} end
  end
  return {'', '', ''}
end

-- Remove an operation from the index of a cause. A cause without a dead letter is forgotten.
local function remove_from(digest, id)
  redis.call('ZREM', key.cause .. digest, id)
  if redis.call('EXISTS', key.cause .. digest) == 0 then redis.call('HDEL', key.causes, digest) end
end

-- Take an operation that is no longer a dead letter out of the index of the causes (crmgate.store.causes).
local function unfile(id)
  local digest = redis.call('HGET', op(id), 'filed_under')
  if not digest then return end
  remove_from(digest, id)
  redis.call('HDEL', op(id), 'filed_under')
end

-- Enter a dead letter into the index of the causes, under the time `at`. Answers its cause.
local function file(id, at)
  unfile(id)
  local cause = cause_of(id)
  local text = cjson.encode(cause)
  local new = redis.call('HEXISTS', key.causes, redis.sha1hex(text)) == 0
  if new and redis.call('HLEN', key.causes) >= KEPT.causes then text = cjson.encode({'', '', ''}) end
  local digest = redis.sha1hex(text)
  if new then redis.call('HSET', key.causes, digest, text) end
  redis.call('ZADD', key.cause .. digest, at, id)
  redis.call('HSET', op(id), 'filed_under', digest)
  return cause
end

-- Let a dead letter return by itself when the cause that it shares with others has ended.
local function let_return(id)
  local wait = RETURN_WAITS[tonumber(redis.call('HGET', op(id), 'returns') or 0) + 1]
  if wait then redis.call('ZADD', key.returning, a.now + wait, id) end
end

-- Whether an operation waits and no attempt is under way: an operator may change it like a dead letter.
local function is_waiting(id)
  local state, lease, till = unpack(redis.call('HMGET', op(id), 'state', 'lease', 'lease_until'))
  return (state == 'waiting' or state == 'accepted') and not (lease and tonumber(till) > a.now)
end

-- Let a dead letter, or a suspect, wait for its provider again, with all its retries. A dead letter is looked for in the
-- CRM first, if it can be searched: a refusal may have come after the record was stored. It goes to the ends of its lines.
local function revive(id, event)
  local state, kind, labels = unpack(redis.call('HMGET', op(id), 'state', 'kind', 'labels'))
  local dead = state == 'dead'
  if state == 'suspect' and labels then
    local minimal = (kinds[kind] or {}).minimal  -- a newer version may know other kinds
    count_accepted(minimal, labels)
    if minimal then redis.call('HDEL', op(id), 'labels') end
  end
  unfile(id)
  redis.call('HDEL', op(id), 'verdict', 'dead_at', 'counted', 'cause', 'refused_at')
  if dead and not to.at_most_once then redis.call('HSET', op(id), 'look', '1') end
  for _, set in ipairs({key.dead, key.returning, key.suspect}) do redis.call('ZREM', set, id) end
  note(id, event)
  hold(id)
  join(id)
end

-- An operator retries an operation: it is sent even if it may have arrived where it cannot be searched.
local function approve(id)
  if to.at_most_once then redis.call('HSET', op(id), 'look', '0') end
end

-- End an operation without a delivery. Its receipt stays for `seconds`.
local function discard(id, event, seconds)
  note(id, event)
  redis.call('HSET', op(id), 'state', 'discarded')
  redis.call('HDEL', op(id), 'payload', 'look', 'due_at', 'verdict', 'cause', 'labels', 'lease', 'lease_until', 'inline',
    'settles_at', 'sent_as')
  unfile(id)
  redis.call('EXPIRE', op(id), seconds)
  for _, set in ipairs({key.dead, key.returning, key.suspect, key.due, HELD, TRIED, LATER}) do redis.call('ZREM', set, id) end
  redis.call('HINCRBY', key.stats, 'discarded', 1)
end
