-- Let a dead letter, or a suspect, wait for its provider again, with all its retries. An operation that waits is tried now.
-- Arguments:
--   id     operation
--   to     provider
--   audit  audit entry, absent: no operator releases it
-- ARGV[2]: event that is added to its history
-- Answers 1, or 0 if it has ended or is under way.
despite_full()
local state = redis.call('HGET', KEYS[1], 'state')
if is_waiting(a.id) then
  redis.call('HDEL', KEYS[1], 'counted', 'due_at', 'verdict', 'cause')
  for _, set in ipairs({HELD, TRIED, LATER}) do redis.call('ZREM', set, a.id) end
  approve(a.id)
  note(a.id, ARGV[2])
  rouse(a.id)
  audit()
  return 1
end
if state ~= 'dead' and state ~= 'suspect' then return 0 end
redis.call('HDEL', KEYS[1], 'returns')
revive(a.id, ARGV[2])
approve(a.id)
redis.call('HINCRBY', key.stats, 'released', 1)
pump_all()
audit()
return 1
