-- End a dead letter, a suspect or a waiting operation without a delivery, and wake those that wait for it.
-- Arguments:
--   id       operation
--   seconds  seconds for which its receipt is kept
--   dead_before  only a dead letter of that time or earlier is discarded, for its age; absent: whatever it is
--   audit    audit entry, absent: no operator discards it
--   to       provider
-- ARGV[2]: event that is added to its history
-- Answers 1, or 0 if it has ended or is under way.
despite_full()
local state, visit = unpack(redis.call('HMGET', KEYS[1], 'state', 'session'))
if state ~= 'dead' and state ~= 'suspect' and not is_waiting(a.id) then return 0 end
if a.dead_before then
  local dead_at = redis.call('ZSCORE', key.dead, a.id)
  if state ~= 'dead' or not dead_at or tonumber(dead_at) > a.dead_before then return 0 end
  redis.call('HINCRBY', key.stats, 'dead_expired', 1)
end
discard(a.id, ARGV[2], a.seconds)
leave(a.id)
end_in_index(a.id, a.seconds)
-- The next operation of the session begins it again, unless another one waits: that one makes the lead of its person.
if visit and redis.call('HGET', session(visit), 'first') == a.id and not one_before(visit) then
  redis.call('HDEL', session(visit), 'first', 'record', 'provider', 'minimal', 'who')
end
audit()
return 1
