-- What the scripts share; it stands before each of them. ARGV[1] holds the arguments as JSON, `a` below.
-- Every key carries the hash tag {crmgate}, so that all of them are on one node of a Redis Cluster.
--   a.to: provider, credentials, most (attempts at once, 0: no limit), rate (requests a second, 0: no limit),
--         burst, reserve (requests set aside for an attempt), active (false: a CRM of which only old records are left)
--   a.wake: wake-up message with @id@ in the place of the id;  a.grace: seconds until a wake-up counts as lost
local P = '{crmgate}:'
local WAKES, TIMED = P .. 'huey:queue', P .. 'huey:schedule'
local DUE, DEAD, RETURNING, STATS = P .. 'due', P .. 'dead', P .. 'returning', P .. 'stats'
local SUSPECT = P .. 'suspect'
local a = cjson.decode(ARGV[1])
local to = a.to
local GATE, HELD, LATER, SLOTS
if to then
  GATE, HELD = P .. 'gate:' .. to.provider, P .. 'held:' .. to.provider
  LATER, SLOTS = P .. 'later:' .. to.provider, P .. 'slots:' .. to.provider
end

-- A full Redis refuses what needs memory only as a script's first write. What brings the work to its end, and so makes
-- room, begins with a write that needs none.
local function despite_full() redis.call('ZREM', DUE, '') end

local function op(id) return P .. 'op:' .. id end

local function session(key) return P .. 'session:' .. key end

local function ended(state) return not state or state == 'delivered' or state == 'discarded' end

local function wake(id) redis.call('LPUSH', WAKES, (string.gsub(a.wake, '@id@', id))) end

-- A wake-up now, and an alarm for the case that it is lost.
local function rouse(id)
  redis.call('ZADD', DUE, a.now + a.grace, id)
  wake(id)
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

-- How many attempts may begin now, as far as numbers go.
local function room()
  redis.call('ZREMRANGEBYSCORE', SLOTS, '-inf', a.now)
  local most = to.most > 0 and to.most or 1000
  local window = tonumber(redis.call('HGET', GATE, 'window') or most)
  local free = math.min(most, window) - redis.call('ZCARD', SLOTS)
  if to.rate > 0 then free = math.min(free, math.floor(tokens() / to.reserve)) end
  return free
end

-- Whether nothing is sent now. An outage ends when a probe or a delivery succeeds; of refused credentials, and of those
-- that never worked, one operation is the probe once the time has come.
-- What was refused is not asked again before its time; other credentials are.
local function shut()
  local cause, till, by = unpack(redis.call('HMGET', GATE, 'cause', 'until', 'by'))
  if cause == 'refused' and by ~= to.credentials then return false end
  return cause and (cause == 'outage' or tonumber(till) > a.now)
end

-- Let an operation that could go wait for its provider; whoever opens the gate, or makes room, wakes it.
local function hold(id)
  redis.call('HSET', op(id), 'state', 'waiting')
  if not to.active then return redis.call('ZADD', DUE, a.now + a.grace, id) end
  redis.call('ZREM', DUE, id)
  redis.call('ZADD', HELD, redis.call('HGET', op(id), 'accepted_at'), id)
  redis.call('SADD', P .. 'providers', to.provider)
end

-- Wake so many of those that wait for the provider, the oldest first.
local function pump(count)
  if count < 1 then return 0 end
  local ids = redis.call('ZPOPMIN', HELD, math.min(count, 100))
  for i = 1, #ids, 2 do rouse(ids[i]) end
  return #ids / 2
end

-- As many as may begin; wake-ups that nobody took yet will use some of the room.
local function pump_all()
  if not redis.call('HGET', GATE, 'cause') then return pump(room() - redis.call('LLEN', WAKES)) end
  return 0
end

-- An attempt begins: it takes a slot and its requests.
local function begin(lease, till)
  redis.call('ZADD', SLOTS, till, lease)
  spend(to.reserve)
  local cause, verified = unpack(redis.call('HMGET', GATE, 'cause', 'verified'))
  if cause == 'refused' then  -- the next one tries them then, if nobody tells what became of this one
    redis.call('HSET', GATE, 'until', till, 'by', to.credentials)
  elseif verified ~= to.credentials then
    -- Credentials that never worked are tried by one operation at a time.
    redis.call('HSET', GATE, 'cause', 'trial', 'until', till)
  end
end

-- What waits for a time because the CRM was away need wait no longer. A hundred at once: a sweep sees to the others.
local function hurry()
  for _, id in ipairs(redis.call('ZRANGE', LATER, 0, 99)) do
    redis.call('ZREM', LATER, id)
    redis.call('HDEL', op(id), 'due_at')
    hold(id)
  end
end

-- The CRM works: whatever was shut is open. Answers what it was shut by.
-- After an outage one attempt runs at once, then one more for each that `delivered`; a probe alone adds none.
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

-- A failure that says that the CRM is away. Answers whether it is the one that opens the circuit breaker.
local function ill()
  local failures = redis.call('HINCRBY', GATE, 'failures', 1)
  if failures < a.threshold or redis.call('HGET', GATE, 'cause') == 'outage' then return false end
  redis.call('HSET', GATE, 'cause', 'outage', 'until', a.now + a.probe, 'since', a.now, 'window', 1)
  return true
end

-- The one that comes after this one in its session may go.
local function free(id)
  local follower = redis.call('HGET', op(id), 'next')
  if follower and redis.call('HGET', op(follower), 'after') == id then
    redis.call('HDEL', op(follower), 'after')
    if not ended(redis.call('HGET', op(follower), 'state')) then rouse(follower) end
  end
end

local function note(id, event)
  local number = redis.call('HINCRBY', op(id), 'tries', 1)
  redis.call('HSET', op(id), 'attempt:' .. number, event)
  if number > 50 then redis.call('HDEL', op(id), 'attempt:' .. (number - 40)) end
end

-- A dead letter (or a suspect) goes to those that wait, with all its retries.
local function revive(id, event)
  redis.call('HDEL', op(id), 'verdict', 'dead_at', 'counted', 'due_at', 'cause')
  for _, set in ipairs({DEAD, RETURNING, SUSPECT}) do redis.call('ZREM', set, id) end
  note(id, event)
  hold(id)
end
