-- Functions that the scripts of the ledger share. This file and those after it (`SHARED` in crmgate.store.scripts) stand
-- before each script. Before this one:
--   key           names of the Redis keys (crmgate.store.keys). All carry the hash tag {crmgate}: one node of a Redis Cluster
--                 has all of them, and a script may touch a key that is not in KEYS.
--   kinds         traits of each kind of operation (crmgate.kinds)
--   RULES         times and numbers for decisions about the gate (crmgate.store.gate)
--   RETURN_WAITS  seconds until a dead letter may return by itself, for the first time, the second ...
--   GRACE         seconds after which a wake-up counts as lost
--   WAKE_MESSAGE  wake-up for Huey, with @id@ in the place of the operation's id
--   KEPT          limits of the figures: seconds of an hour and of a day, values, causes and events
-- ARGV[1] holds a script's arguments as JSON, below `a`; ARGV[2] is a text that is stored as it is. KEYS[1] is the record of
-- the operation a.id, if the script is about one. A script that is about a provider gets it as a.to:
--   to.provider     name
--   to.credentials  fingerprint of the credentials in use
--   to.most         attempts at once, 0: no limit
--   to.rate         requests a second, 0: no limit
--   to.burst        requests at once after a rest
--   to.reserve      requests set aside for an attempt
--   to.epidemic_after  number of different operations with the same refusal in a row that shut the gate
--   to.at_most_once  true: only an operator may send an operation again that may have arrived
--   to.active       false: a CRM that is no longer chosen, but holds records that operations are about
-- A script that takes the lease on an operation gets a.claim:
--   claim.lease      lease that the caller takes
--   claim.seconds    duration of that lease
--   claim.patience   seconds until an operation that waits for an earlier one is checked again
--   claim.settle     seconds for which the CRM may be processing a request
--   claim.supported  kinds of operations that the CRM supports: true, by name
--   claim.keys       keys that the caller has for payloads: true, by id
--   claim.batch      largest number of operations that are taken in addition, to be sent together; absent: none
-- A script that makes a change of an operator gets its audit entry (crmgate.store.audit.Entry) as a.audit:
--   audit.at        time, RFC 3339
--   audit.who       operator
--   audit.what      action
--   audit.on        id of the thing that changed
--   audit.detail    detail without secrets and personal data
--   audit.kept      number of entries that Redis keeps
-- a.now is the time in seconds since the epoch, by Redis's clock: the clocks of the hosts may differ. Only a test passes its own.
local a = cjson.decode(ARGV[1])
local to = a.to
if not a.now then
  local seconds, microseconds = unpack(redis.call('TIME'))
  a.now = seconds + microseconds / 1000000
end
local GATE = to and key.gate .. to.provider
local HELD = to and key.held .. to.provider
local LATER = to and key.later .. to.provider
local TRIED = to and key.tried .. to.provider
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

-- Add an event to the list of the latest ones (crmgate.store.tallies). It contains no personal data.
local function happened(what, on, detail)
  redis.call('XADD', key.events, 'MAXLEN', '~', KEPT.events, '*',
    'at', string.format('%.17g', a.now), 'what', what, 'on', on, 'detail', detail)
end

-- Count an event of an operation in the figures of the hour.
local function count_hour(event)
  local hour = key.hour .. math.floor(a.now / 3600)
  if redis.call('HINCRBY', hour, event, 1) == 1 then redis.call('EXPIRE', hour, KEPT.hour) end
end

-- Count an event in the figures of the day, for each `dimension|value` in `labels`. The field with the name of the event has
-- the number of its values. Further values than are kept are counted together, as the empty value.
local function count_day(event, labels)
  local start = key.day .. math.floor(a.now / 86400) .. ':'
  for dimension, value in string.gmatch(labels, '([^|\n]+)|([^\n]*)') do
    local day, field = start .. dimension, event .. '|' .. value
    if redis.call('HINCRBY', day, field, 1) == 1 then
      redis.call('EXPIRE', day, KEPT.day)
      if redis.call('HINCRBY', day, event, 1) > KEPT.values then
        redis.call('HDEL', day, field)
        redis.call('HINCRBY', day, event, -1)
        redis.call('HINCRBY', day, event .. '|', 1)
      end
    end
  end
end

-- Count a click on a messenger link.
local function count_click(labels)
  count_day('clicks', labels)
  local channel = string.match(labels, '^channel|([^\n]+)')
  if channel then redis.call('HINCRBY', key.stats, 'clicks:' .. channel, 1) end
end

-- Count an operation that was accepted. Only an application keeps its labels: it is counted by them when it ends, too.
local function count_accepted(minimal, labels)
  count_hour('accepted')
  if minimal then count_click(labels) else count_day('accepted', labels) end
end

-- Rename the fields of a record that the previous version of crmgate wrote: `tries`, `attempt:N` and `next`. Its processes may
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

-- The gate of the provider as `decide` (gate.lua) reads it. The version before this one also had the cause `trial`: its
-- processes may still write it during an upgrade, and the next sweep removes it.
local function read_gate()
  local gate, flat = {}, redis.call('HGETALL', GATE)
  for i = 1, #flat, 2 do gate[flat[i]] = flat[i + 1] end
  if gate.cause == 'trial' then
    redis.call('HDEL', GATE, 'cause')
    gate.cause = nil
  end
  return gate
end

local function write_gate(before, after)
  for name in pairs(before) do
    if after[name] == nil then redis.call('HDEL', GATE, name) end
  end
  for name, value in pairs(after) do
    if before[name] ~= value then redis.call('HSET', GATE, name, value) end
  end
end

-- Change the gate after an event. Answers what follows from it (`effect` in gate.lua).
local function judge(event)
  event.now, event.credentials = a.now, to.credentials
  RULES.epidemic_after, RULES.most = to.epidemic_after, to.most > 0 and to.most or 32
  local before = read_gate()
  local after, effect = decide(before, event, RULES)
  write_gate(before, after)
  if effect.opened then happened('opened', to.provider, effect.opened) end
  if effect.shut then happened('shut', to.provider, effect.shut) end
  return effect
end

-- Number of attempts that may begin now by the limits of the provider. Credentials that never worked are tried by one
-- operation at a time.
local function room()
  redis.call('ZREMRANGEBYSCORE', SLOTS, '-inf', a.now)
  local most = to.most > 0 and to.most or 1000
  local window, verified = unpack(redis.call('HMGET', GATE, 'window', 'verified'))
  window = verified == to.credentials and tonumber(window or most) or 1
  local slots = math.min(most, window) - redis.call('ZCARD', SLOTS)
  if to.rate > 0 then slots = math.min(slots, math.floor(tokens() / to.reserve)) end
  return slots
end

-- Whether nothing may be sent to the provider now.
local function shut()
  local cause, till, by = unpack(redis.call('HMGET', GATE, 'cause', 'until', 'by'))
  return is_shut({cause = cause, ['until'] = till, by = by}, a.now, to.credentials)
end

-- Make an operation wait for its provider. The script that opens the gate, or ends another attempt, wakes it.
-- `queue` is HELD, or TRIED for an operation that was sent while the gate was shut: it goes after all others.
local function hold(id, queue)
  redis.call('HSET', op(id), 'state', 'waiting')
  redis.call('HDEL', op(id), 'due_at')
  redis.call('ZREM', LATER, id)
  if not to.active then return redis.call('ZADD', key.due, a.now + GRACE, id) end
  redis.call('ZREM', key.due, id)
  redis.call('ZADD', queue or HELD, redis.call('HGET', op(id), 'accepted_at'), id)
  redis.call('SADD', key.providers, to.provider)
end

-- When every operation that waits has been tried, the next round begins.
local function next_round()
  if redis.call('EXISTS', HELD) == 0 and redis.call('EXISTS', TRIED) == 1 then redis.call('RENAME', TRIED, HELD) end
end

-- Wake at most `count` of the operations that wait for the provider, the oldest first.
local function pump(count)
  if count < 1 then return end
  next_round()
  local ids = redis.call('ZPOPMIN', HELD, math.min(count, 100))
  for i = 1, #ids, 2 do rouse(ids[i]) end
end

-- Wake one operation as a probe of the gate: the newest and the oldest in turn. No operation is woken a second time before
-- all others were.
local function pump_probe()
  next_round()
  local oldest = redis.call('HGET', GATE, 'oldest_next') == '1'
  local ids = redis.call(oldest and 'ZPOPMIN' or 'ZPOPMAX', HELD)
  redis.call('HSET', GATE, 'oldest_next', oldest and '0' or '1')
  if ids[1] then rouse(ids[1]) end
end

-- Wake as many operations as may be attempted now, less the wake-ups that no worker has taken yet.
local function pump_all()
  local cause = redis.call('HGET', GATE, 'cause')
  if not cause or (cause == 'refused' and not shut()) then
    pump(room() - redis.call('LLEN', key.wake_list))
  end
end

-- Begin an attempt: it takes a slot and its requests. The probe of a limit or an epidemic is the only one until its lease
-- has ended.
local function begin(lease, till)
  redis.call('ZADD', SLOTS, till, lease)
  spend(to.reserve)
  local cause = redis.call('HGET', GATE, 'cause')
  if cause == 'limited' or cause == 'epidemic' then redis.call('HSET', GATE, 'until', till) end
end

-- End the wait of operations whose retry waits only because the CRM was unavailable: 100 now, the others with each sweep.
local function hurry()
  for _, id in ipairs(redis.call('ZRANGE', LATER, 0, 99)) do hold(id) end
end
