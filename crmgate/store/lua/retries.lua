-- One batch of a job: those of its dead letters that are still dead go to those that wait.
-- a: job, from (where the job stood when the batch was chosen), upto, seen (looked at), ids (chosen), last (true: nothing
--    is left), now, seconds (kept after its end)   ARGV[2]: what is noted on each
-- Answers how many went, or -1 if the job does not stand there any more: cancelled, or another worker was quicker.
local JOB = P .. 'job:' .. a.job
local state, cursor = unpack(redis.call('HMGET', JOB, 'state', 'cursor'))
if state ~= 'running' or (cursor or '') ~= a.from then return -1 end
local released = 0
for _, id in ipairs(a.ids) do
  if redis.call('HGET', op(id), 'state') == 'dead' then
    redis.call('HDEL', op(id), 'returns')
    revive(id, ARGV[2])
    released = released + 1
  end
end
redis.call('HSET', JOB, 'cursor', a.upto, 'moved_at', a.now)
redis.call('HINCRBY', JOB, 'seen', a.seen)
redis.call('HINCRBY', JOB, 'released', released)
if released > 0 then redis.call('HINCRBY', STATS, 'released', released) end
if a.last then
  redis.call('HSET', JOB, 'state', 'finished', 'ended_at', a.now)
  redis.call('EXPIRE', JOB, a.seconds)
end
pump_all()
return released
