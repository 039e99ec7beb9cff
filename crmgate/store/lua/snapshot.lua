-- Read operations for a backup (crmgate.store.backup), each at one moment with everything that belongs to it.
-- Arguments:
--   ids  operations
-- Answers for each operation that is kept: {id, milliseconds until its receipt expires (-1: no expiry), place in its lines
-- ('': it is in none), seconds until it returns by itself as a dead letter ('': it does not), {field, value ...}}.
local found = {}
for _, id in ipairs(a.ids) do
  local expiry = redis.call('PTTL', op(id))
  if expiry ~= -2 then
    local digest = string.match(redis.call('HGET', op(id), 'lines') or '', '%S+')
    local place = digest and redis.call('ZSCORE', line(digest), id) or ''  -- the same in each of its lines (`join`)
    local returns_at = redis.call('ZSCORE', key.returning, id)
    local returns_in = returns_at and string.format('%.17g', math.max(returns_at - a.now, 0)) or ''
    found[#found + 1] = {id, expiry, place, returns_in, redis.call('HGETALL', op(id))}
  end
end
return found
