-- Order: operations about the same person (the same session, email or phone) are sent one after another. Each session, email
-- and phone has a line, a sorted set of the operations under way; `lines` of an operation names its lines by their digests.
-- An operation joins all its lines at their ends in one step, and is sent when it is the first of each. So an operation
-- only waits for those that joined earlier, and no two wait for each other.

local function line(digest) return key.line .. digest end

-- Whether an operation will be sent without the decision of a person.
local function is_under_way(id)
  local state = redis.call('HGET', op(id), 'state')
  return not (ended(state) or state == 'dead' or state == 'suspect')
end

-- The operation directly before another one in a line, or nil; without an id the last operation of the line.
local function one_before(digest, id)
  local rank = id and redis.call('ZRANK', line(digest), id) or redis.call('ZCARD', line(digest))
  while rank > 0 do
    rank = rank - 1
    local earlier = redis.call('ZRANGE', line(digest), rank, rank)[1]
    if is_under_way(earlier) then return earlier end
    redis.call('ZREM', line(digest), earlier)  -- a process of the previous version ended it
  end
end

-- An operation that another one has to wait for, or nil. The previous version of crmgate knew no lines, only `behind`.
local function ahead(id)
  local lines, behind = unpack(redis.call('HMGET', op(id), 'lines', 'behind'))
  for digest in string.gmatch(lines or '', '%S+') do
    local earlier = one_before(digest, id)
    if earlier then return earlier end
  end
  if not lines and behind and is_under_way(behind) then return behind end
end

-- Write on an operation, as `behind`, which one it waits for. Answers that one, or nil.
local function look_ahead(id)
  local earlier = ahead(id)
  if earlier then
    -- `after` is for processes of the previous version (see renew), and so is `ahead_of`: they wake one follower.
    redis.call('HSET', op(id), 'behind', earlier, 'after', earlier)
    redis.call('HSET', op(earlier), 'ahead_of', id)
  else
    redis.call('HDEL', op(id), 'behind', 'after')
  end
  return earlier
end

-- Put an operation at the ends of its lines. Answers an operation that it waits for, or nil.
local function join(id)
  local lines, place = redis.call('HGET', op(id), 'lines') or '', 0
  for digest in string.gmatch(lines, '%S+') do
    place = math.max(place, redis.call('ZREVRANGE', line(digest), 0, 0, 'WITHSCORES')[2] or 0)
  end
  for digest in string.gmatch(lines, '%S+') do redis.call('ZADD', line(digest), place + 1, id) end
  return look_ahead(id)
end

-- Take an operation out of its lines, and wake those that are now the first of theirs.
local function leave(id)
  renew(id)
  local lines, legacy = unpack(redis.call('HMGET', op(id), 'lines', 'ahead_of'))
  local followers = legacy and {legacy} or {}
  for digest in string.gmatch(lines or '', '%S+') do
    local rank = redis.call('ZRANK', line(digest), id)
    if rank then
      redis.call('ZREM', line(digest), id)
      followers[#followers + 1] = redis.call('ZRANGE', line(digest), rank, rank)[1]
    end
  end
  for _, follower in ipairs(followers) do
    renew(follower)
    local waited = redis.call('HEXISTS', op(follower), 'behind') == 1
    if waited and is_under_way(follower) and not look_ahead(follower) then rouse(follower) end
  end
end

-- Put the operations of a session that the previous version accepted into its line: the last one, and those before it. One
-- that was discarded while it waited can have others before it.
local function bring_in(id, digest)
  if not id or redis.call('HEXISTS', op(id), 'lines') == 1 then return end
  local discarded = redis.call('HGET', op(id), 'state') == 'discarded'
  if not discarded and not is_under_way(id) then return end
  renew(id)
  bring_in(redis.call('HGET', op(id), 'behind'), digest)
  if discarded then return end
  redis.call('HSET', op(id), 'lines', digest)
  join(id)
end

-- Whether a submission with these lines is of the person whose email or phone is in `who`.
local function is_of(who, lines)
  for digest in string.gmatch(lines, '%S+') do
    if string.find(who or '', digest, 1, true) then return true end
  end
  return false
end

-- Let an operation make the lead of a session. A lead that a click makes is still that of the person who has applied in the
-- session: an application of this person may wait for it.
local function make_lead_of(visit, id, kind)
  redis.call('HDEL', session(visit), 'provider', 'record')
  redis.call('HSET', session(visit), 'first', id)
  if kinds[kind].minimal then
    redis.call('HSETNX', session(visit), 'minimal', '1')
  else
    redis.call('HSET', session(visit), 'minimal', '0')
  end
end
