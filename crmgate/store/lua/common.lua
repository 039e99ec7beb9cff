-- Functions that the ledger's scripts share. This file stands before each of them (crmgate.store.scripts), and before it:
--   key           names of the Redis keys (crmgate.store.keys). All carry the hash tag {crmgate}: one node of a Redis Cluster
--                 has all of them, and a script may touch a key that is not in KEYS.
--   kinds         traits of each kind of operation (crmgate.kinds)
--   GRACE         seconds after which a wake-up counts as lost
--   WAKE_MESSAGE  wake-up for Huey, with @id@ in the place of the operation's id
-- ARGV[1] holds a script's arguments as JSON, below `a`; ARGV[2] is a text that is stored as it is. KEYS[1] is the record of
-- the operation a.id, if the script is about one. A script that is about a provider gets it as a.to:
--   to.provider     name
--   to.credentials  fingerprint of the credentials in use
--   to.most         attempts at once, 0: no limit
--   to.rate         requests a second, 0: no limit
--   to.burst        requests at once after a rest
--   to.reserve      requests set aside for an attempt
--   to.active       false: a CRM that is no longer chosen, but holds records that operations are about
-- A script that makes a change of an operator gets its audit entry (crmgate.store.audit.Entry) as a.audit:
--   audit.at        time, RFC 3339
--   audit.who       operator
--   audit.what      action
--   audit.on        id of the thing that changed
--   audit.detail    detail without secrets and personal data
--   audit.kept      number of entries that Redis keeps
local a = cjson.decode(ARGV[1])
local to = a.to
local GATE = to and key.gate .. to.provider
local HELD = to and key.held .. to.provider
local LATER = to and key.later .. to.provider
local SLOTS = to and key.slots .. to.provider

-- When Redis is full it refuses a script whose first write needs memory; after its first write it refuses nothing.
-- A script that ends work, and so makes room, begins with this write, which needs none.
local function despite_full() redis.call('ZREM', key.due, '') end

local function op(id) return key.op .. id end

local function session(digest) return key.session .. digest end

local function ended(state) return not state or state == 'delivered' or state == 'discarded' end

local function wake_message(id) return (string.gsub(WAKE_MESSAGE, '@id@', id)) end

local function wake(id) redis.call('LPUSH', key.wake_list, wake_message(id)) end

-- Wake a worker now, and set an alarm for the case that the wake-up is lost.
local function rouse(id)
  redis.call('ZADD', key.due, a.now + GRACE, id)
  wake(id)
end

-- Add the audit entry of the change that this script makes (crmgate.store.audit); none if no operator makes it.
local function audit()
  local entry = a.audit
  if not entry then return end
  redis.call('XADD', key.audit, 'MAXLEN', '~', entry.kept, '*',
    'at', entry.at, 'who', entry.who, 'what', entry.what, 'on', entry.on, 'detail', entry.detail)
end

-- Rename the fields of a record that the version before this one wrote: `tries`, `attempt:N` and `next`. Its processes may
-- still write them during an upgrade. They also read `after`, which therefore stays beside `behind`.
local function renew(id)
  local tries, follower, after, behind = unpack(redis.call('HMGET', op(id), 'tries', 'next', 'after', 'behind'))
  if after and not behind then redis.call('HSET', op(id), 'behind', after) end
  if follower then
    redis.call('HSET', op(id), 'ahead_of', follower)
    redis.call('HDEL', op(id), 'next')
  end
  if not tries then return end
  local version = redis.call('HGET', op(id), 'version') or 0
  for _, field in ipairs(redis.call('HKEYS', op(id))) do
    local number = string.match(field, '^attempt:(%d+)$')
    if number then
      redis.call('HSET', op(id), 'event:' .. (version + number), redis.call('HGET', op(id), field))
      redis.call('HDEL', op(id), field)
    end
  end
  redis.call('HINCRBY', op(id), 'version', tries)
  redis.call('HDEL', op(id), 'tries')
end

-- Token bucket (https://en.wikipedia.org/wiki/Token_bucket): requests that may be sent now.
local function tokens()
  local had, at = unpack(redis.call('HMGET', GATE, 'tokens', 'tokens_at'))
  if not had then return to.burst end
  return math.min(to.burst, had + math.max(a.now - at, 0) * to.rate)
end

local function spend(requests)
  if to.rate > 0 then redis.call('HSET', GATE, 'tokens', tokens() - requests, 'tokens_at', a.now) end
end

-- Number of attempts that may begin now by the limits of the provider.
local function room()
  redis.call('ZREMRANGEBYSCORE', SLOTS, '-inf', a.now)
  local most = to.most > 0 and to.most or 1000
  local window = tonumber(redis.call('HGET', GATE, 'window') or most)
  local slots = math.min(most, window) - redis.call('ZCARD', SLOTS)
  if to.rate > 0 then slots = math.min(slots, math.floor(tokens() / to.reserve)) end
  return slots
end

-- Whether nothing may be sent to the provider now. An outage ends when a probe or a delivery succeeds. Refused credentials,
-- and credentials that never worked, are tried by one operation once the time `until` has come. Refused credentials are not
-- sent again before that time; other credentials are.
local function shut()
  local cause, till, by = unpack(redis.call('HMGET', GATE, 'cause', 'until', 'by'))
  if cause == 'refused' and by ~= to.credentials then return false end
  return cause and (cause == 'outage' or tonumber(till) > a.now)
end

-- Let an operation that could be sent wait for its provider. The script that opens the gate, or makes room, wakes it.
local function hold(id)
  redis.call('HSET', op(id), 'state', 'waiting')
  if not to.active then return redis.call('ZADD', key.due, a.now + GRACE, id) end
  redis.call('ZREM', key.due, id)
  redis.call('ZADD', HELD, redis.call('HGET', op(id), 'accepted_at'), id)
  redis.call('SADD', key.providers, to.provider)
end

-- Wake at most `count` of the operations that wait for the provider, the oldest first.
local function pump(count)
  if count < 1 then return end
  local ids = redis.call('ZPOPMIN', HELD, math.min(count, 100))
  for i = 1, #ids, 2 do rouse(ids[i]) end
end

-- Wake as many as may begin. Wake-ups that no worker took yet will use some of the room.
local function pump_all()
  if not redis.call('HGET', GATE, 'cause') then pump(room() - redis.call('LLEN', key.wake_list)) end
end

-- Begin an attempt: it takes a slot and its requests.
local function begin(lease, till)
  redis.call('ZADD', SLOTS, till, lease)
  spend(to.reserve)
  local cause, verified = unpack(redis.call('HMGET', GATE, 'cause', 'verified'))
  if cause == 'refused' then  -- if this attempt is never recorded, the next one tries the credentials after its lease
    redis.call('HSET', GATE, 'until', till, 'by', to.credentials)
  elseif verified ~= to.credentials then
    -- Credentials that never worked are tried by one operation at a time.
    redis.call('HSET', GATE, 'cause', 'trial', 'until', till)
  end
end

-- End the wait of operations that wait for a time only because the CRM was away: a hundred now, the others by sweeps.
local function hurry()
  for _, id in ipairs(redis.call('ZRANGE', LATER, 0, 99)) do
    redis.call('ZREM', LATER, id)
    redis.call('HDEL', op(id), 'due_at')
    hold(id)
  end
end

-- Open the gate, because the CRM works. Answers what it was shut by.
-- After an outage one attempt runs at once, then one more for each that is `delivered`; a probe alone adds none.
local function well(delivered)
  local cause, window = unpack(redis.call('HMGET', GATE, 'cause', 'window'))
  redis.call('HDEL', GATE, 'cause', 'until', 'by', 'since', 'failures')
  redis.call('HSET', GATE, 'healthy_at', a.now)
  if window and delivered then
    if window + 1 >= (to.most > 0 and to.most or 32) then redis.call('HDEL', GATE, 'window')
    else redis.call('HSET', GATE, 'window', window + 1) end
  end
  hurry()
  return cause
end

-- Count a failure that says that the CRM is away. Answers whether this one opens the circuit breaker.
local function ill()
  local failures = redis.call('HINCRBY', GATE, 'failures', 1)
  if failures < a.threshold or redis.call('HGET', GATE, 'cause') == 'outage' then return false end
  redis.call('HSET', GATE, 'cause', 'outage', 'until', a.now + a.first_probe, 'since', a.now, 'window', 1)
  return true
end

-- Wake the operation behind this one in its session, now that this one has ended.
local function free(id)
  local follower = redis.call('HGET', op(id), 'ahead_of')
  if not follower then return end
  renew(follower)
  if redis.call('HGET', op(follower), 'behind') == id then
    redis.call('HDEL', op(follower), 'behind', 'after')
    if not ended(redis.call('HGET', op(follower), 'state')) then rouse(follower) end
  end
end

-- Add an event to the history of an operation: its version grows. The first ten events and the last forty are kept.
local function note(id, event)
  renew(id)
  local version = redis.call('HINCRBY', op(id), 'version', 1)
  redis.call('HSET', op(id), 'event:' .. version, event)
  if version > 50 then redis.call('HDEL', op(id), 'event:' .. (version - 40)) end
end

-- Let a dead letter, or a suspect, wait for its provider again, with all its retries.
local function revive(id, event)
  redis.call('HDEL', op(id), 'verdict', 'dead_at', 'counted', 'due_at', 'cause')
  for _, set in ipairs({key.dead, key.returning, key.suspect}) do redis.call('ZREM', set, id) end
  note(id, event)
  hold(id)
end
