-- Count a click on a messenger link that makes no operation.
-- Arguments:
--   labels   values that it is counted by, one `dimension|value` per line
--   visit    digest of its session; empty if it has none
--   seconds  how long a new session is kept
-- Answers 1.
count_click(a.labels)
if a.visit ~= '' then  -- accept.lua counts the application that follows
  local S = session(a.visit)
  redis.call('HSET', S, 'clicked', a.labels)
  if redis.call('TTL', S) < 0 then redis.call('EXPIRE', S, a.seconds) end
end
return 1
