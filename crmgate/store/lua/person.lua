-- The index of persons: for each email and phone the operations and sessions that are about it. It stands between history.lua
-- and each script. The name of an index holds a digest with the secret key of this Redis (`keyed`): a phone number can be
-- guessed from a plain digest, because there are few of them. A keyed digest begins with `p`, a plain one does not.
-- `persons` of an operation has the digests of its indexes, and so has `who` of a session. A member is the id of an operation,
-- or `s:` and the digest of a session. Its score is the time at which it is forgotten: 'inf' for an operation that has not
-- ended. So an index expires with its last member.

-- The secret key of this Redis; `new` if it has none yet.
local function key_of_persons(new)
  local known = redis.call('GET', key.person_key)
  if known then return known end
  redis.call('SET', key.person_key, new)
  return new
end

-- Digests with the secret key (see key_of_persons), for plain digests in a text. It is the nested hash of HMAC (RFC 2104) with
-- two keys of one block each. SHA-1 is the only hash that Redis's Lua has; its collisions do not concern a keyed digest.
local function keyed(plain, new)
  local found = {}
  if not string.find(plain, '%x') then return '' end
  local secret = key_of_persons(new)
  for digest in string.gmatch(plain, '%x+') do
    local inner = redis.sha1hex(string.sub(secret, 1, 64) .. digest)
    found[#found + 1] = 'p' .. string.sub(redis.sha1hex(string.sub(secret, 65) .. inner), 1, 31)
  end
  return table.concat(found, ' ')
end

local function each_person(persons) return string.gmatch(persons or '', 'p%x+') end

-- Forget what is due in an index, and let it expire with its last member.
local function renew_index(index)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', a.now)
  local last = redis.call('ZREVRANGE', index, 0, 0, 'WITHSCORES')[2]
  if last == 'inf' then
    redis.call('PERSIST', index)
  elseif last then
    redis.call('EXPIRE', index, math.ceil(last - a.now))
  end
end

-- Keep a member in the indexes of persons until a time.
local function keep_in_index(persons, member, till)
  for digest in each_person(persons) do
    redis.call('ZADD', key.person .. digest, till, member)
    renew_index(key.person .. digest)
  end
end

local function drop_from_index(persons, member)
  for digest in each_person(persons) do
    redis.call('ZREM', key.person .. digest, member)
    renew_index(key.person .. digest)
  end
end

local function keep_session_in_index(persons, visit, seconds)
  keep_in_index(persons, 's:' .. visit, a.now + seconds)
end

-- Make an operation that has not ended one of these persons.
local function assign(id, persons)
  if not each_person(persons)() then return end
  redis.call('HSET', op(id), 'persons', persons)
  keep_in_index(persons, id, '+inf')
end

-- An operation has ended: its index forgets it with its receipt, which holds no plain digest of an email or phone.
local function end_in_index(id, seconds)
  keep_in_index(redis.call('HGET', op(id), 'persons'), id, a.now + seconds)
  redis.call('HDEL', op(id), 'lines')
end

-- The plain digests of the email and phone of an operation, as they stand in its lines after that of its session.
local function plain_of(lines, visit)
  if not visit then return lines or '' end
  return string.sub(lines or '', #visit + 2)
end
