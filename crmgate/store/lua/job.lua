-- Begin or cancel a job that retries dead letters; one runs at a time.
-- a: what ('start' or 'cancel'), job, now, seconds (kept after its end), filter, who, total
-- Answers the id of the job that runs now: another one if it could not begin. Of a cancel: the state that it had, or ''.
local CURRENT, JOB = P .. 'job', P .. 'job:' .. a.job
local state = redis.call('HGET', JOB, 'state')
if a.what == 'start' then
  local running = redis.call('GET', CURRENT)
  if running and redis.call('HGET', P .. 'job:' .. running, 'state') == 'running' then return running end
  redis.call('HSET', JOB, 'state', 'running', 'filter', a.filter, 'who', a.who, 'started_at', a.now, 'total', a.total)
  redis.call('SET', CURRENT, a.job)
  return a.job
end
if state == 'running' then
  redis.call('HSET', JOB, 'state', 'cancelled', 'ended_at', a.now)
  redis.call('EXPIRE', JOB, a.seconds)
end
return state or ''
