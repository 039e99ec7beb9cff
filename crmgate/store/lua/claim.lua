-- Take the lease on an operation that may be attempted now.
-- Arguments:
--   id     operation
--   claim  the lease
--   to     provider
-- Answers as `take` and `with_others` do (take.lua).
despite_full()
local taken = take(a.id, a.claim)
return taken[1] == 'claimed' and with_others(taken, a.claim) or taken
