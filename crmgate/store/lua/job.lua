-- Start or cancel a job that retries dead letters. One job runs at a time.
-- Arguments:
--   what     'start' or 'cancel'
--   job      id of the job
--   filter   start: which dead letters it retries, as JSON
--   who      start: operator who starts it
--   total    start: number of dead letters that it looks at
--   seconds  cancel: seconds for which the job is kept after its end
--   audit    audit entry
-- Answers to a start the id of the job that runs now: another one if this one could not start. Answers to a cancel the
-- state that the job had, '' if it does not exist.
local job = key.job .. a.job
local state = redis.call('HGET', job, 'state')
if a.what == 'start' then
  local running = redis.call('GET', key.current_job)
  if running and redis.call('HGET', key.job .. running, 'state') == 'running' then return running end
  redis.call('HSET', job, 'state', 'running', 'filter', a.filter, 'who', a.who, 'started_at', a.now, 'total', a.total)
  redis.call('SET', key.current_job, a.job)
  audit()
  return a.job
end
if state == 'running' then
  despite_full()
  redis.call('HSET', job, 'state', 'cancelled', 'ended_at', a.now)
  redis.call('EXPIRE', job, a.seconds)
  audit()
end
return state or ''
