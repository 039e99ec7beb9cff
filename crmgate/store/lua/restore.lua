-- Write operations and other keys of a backup (crmgate.store.backup). What exists already stays as it is.
-- Arguments:
--   operations  operations: id, fields, expiry (milliseconds, -1: none), place (in its lines), returns_in (seconds; absent: it
--               is no dead letter that returns by itself)
--   entries     other keys: key, way ('whole', 'fields' or 'stream'), value, expiry, visit (digest of a session, else '')
--   base        number that is added to each place: an operation goes behind those that are in its lines already
--   foreign     true: the keyed digests of persons in the backup were made with another secret key than that of this Redis
--   person_key  secret key of the index of persons if Redis has none yet (person.lua)
--   to          provider
-- Answers {number of operations written, number of other keys written}.

-- The keyed digests of the person of an operation. Those of another key are computed again, as long as its plain ones are kept.
local function persons_of(fields)
  if not a.foreign then return fields.persons or '' end
  return keyed(plain_of(fields.lines, fields.session), a.person_key)
end

-- The CRM may have the operation: the attempt that was under way, or one after the backup, may have delivered it. So the CRM
-- is searched before it is sent.
local function put_to_work(id, saved)
  local fields = saved.fields
  redis.call('HSET', op(id), 'look', '1')
  if fields.state == 'dead' then
    redis.call('ZADD', key.dead, fields.dead_at, id)
    file(id, fields.dead_at)
    if saved.returns_in then redis.call('ZADD', key.returning, a.now + saved.returns_in, id) end
  elseif fields.state == 'suspect' then
    redis.call('ZADD', key.suspect, fields.accepted_at, id)
  else
    for digest in string.gmatch(fields.lines or '', '%S+') do
      redis.call('ZADD', line(digest), a.base + saved.place, id)
    end
    hold(id)
  end
end

local function restore_operation(saved)
  local id, fields = saved.id, saved.fields
  if redis.call('EXISTS', op(id)) == 1 then return 0 end
  for field, value in pairs(fields) do redis.call('HSET', op(id), field, value) end
  redis.call('HDEL', op(id), 'lease', 'lease_until', 'inline', 'filed_under', 'persons')
  redis.call('ZADD', key.ops, fields.accepted_at, id)
  redis.call('ZADD', key.ids, 0, id)
  assign(id, persons_of(fields))
  if ended(fields.state) then
    redis.call('PEXPIRE', op(id), saved.expiry)
    end_in_index(id, saved.expiry / 1000)
  else
    put_to_work(id, saved)
  end
  return 1
end

-- A stream takes no entry that is older than its last one: such an entry is left out.
local function restore_stream(kept)
  local written = 0
  for _, item in ipairs(kept.value) do
    local flat = {}
    for field, value in pairs(item[2]) do
      flat[#flat + 1] = field
      flat[#flat + 1] = value
    end
    if not redis.pcall('XADD', kept.key, item[1], unpack(flat)).err then written = 1 end
  end
  return written
end

local function restore_fields(kept)
  local written = 0
  for field, value in pairs(kept.value) do
    written = math.max(written, redis.call('HSETNX', kept.key, field, value))
  end
  return written
end

local function restore_whole(kept)
  if redis.call('EXISTS', kept.key) == 1 then return 0 end
  if type(kept.value) == 'string' then redis.call('SET', kept.key, kept.value) else restore_fields(kept) end
  if kept.expiry > 0 then redis.call('PEXPIRE', kept.key, kept.expiry) end
  if kept.visit ~= '' then
    if a.foreign then redis.call('HDEL', kept.key, 'who') end
    keep_session_in_index(redis.call('HGET', kept.key, 'who'), kept.visit, kept.expiry / 1000)
  end
  return 1
end

local restore_entry = {whole = restore_whole, fields = restore_fields, stream = restore_stream}
local operations, entries = 0, 0
for _, saved in ipairs(a.operations) do operations = operations + restore_operation(saved) end
for _, kept in ipairs(a.entries) do entries = entries + restore_entry[kept.way](kept) end
return {operations, entries}
