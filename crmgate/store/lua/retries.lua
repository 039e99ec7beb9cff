-- Carry out one batch of a job: those of its dead letters that are still dead wait for their provider again.
-- Arguments:
--   job      id of the job
--   start    place at which the job stood when the batch was chosen
--   upto     place at which it stands after the batch
--   seen     number of dead letters that were looked at
--   ids      operations that were chosen
--   last     true: no dead letter is left after this batch
--   seconds  seconds for which the job is kept after its end
--   to       provider
-- ARGV[2]: event that is added to the history of each
-- Answers the number of operations released, or -1 if the job no longer stands at that place: it was cancelled, or another
-- worker was quicker.
local job = key.job .. a.job
local state, cursor = unpack(redis.call('HMGET', job, 'state', 'cursor'))
if state ~= 'running' or (cursor or '') ~= a.start then return -1 end
local released = 0
for _, id in ipairs(a.ids) do
  if redis.call('HGET', op(id), 'state') == 'dead' then
    redis.call('HDEL', op(id), 'returns')
    revive(id, ARGV[2])
    approve(id)
    released = released + 1
  end
end
redis.call('HSET', job, 'cursor', a.upto, 'moved_at', a.now)
redis.call('HINCRBY', job, 'seen', a.seen)
redis.call('HINCRBY', job, 'released', released)
if released > 0 then redis.call('HINCRBY', key.stats, 'released', released) end
if a.last then
  redis.call('HSET', job, 'state', 'finished', 'ended_at', a.now)
  redis.call('EXPIRE', job, a.seconds)
  happened('finished', a.job, redis.call('HGET', job, 'released'))
end
pump_all()
return released
