-- Let a dead letter, or a suspect, wait for its provider again, with all its retries.
-- Arguments:
--   id     operation
--   now    time of the caller
--   to     provider
--   audit  audit entry, absent: no operator releases it
-- ARGV[2]: event that is added to its history
-- Answers 1, or 0 if it is neither a dead letter nor a suspect.
despite_full()
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'dead' and state ~= 'suspect' then return 0 end
redis.call('HDEL', KEYS[1], 'returns')
revive(a.id, ARGV[2])
redis.call('HINCRBY', key.stats, 'released', 1)
pump_all()
audit()
return 1
