-- Take requests for a comparison with the CRM from those that the vendor allows. Requests for an attempt are left.
-- Arguments:
--   used    requests that the comparison sent, less those that it had taken
--   wanted  requests to take
--   to      provider
-- Answers {seconds to wait before nothing was taken, '0': they are taken; cause of the gate, '': it is open}.
spend(a.used)
if shut() then return {'0', redis.call('HGET', GATE, 'cause')} end
if to.rate == 0 then return {'0', ''} end
local lacking = math.min(a.wanted + to.reserve, to.burst) - tokens()
if a.wanted > 0 and lacking > 0 then return {string.format('%.17g', lacking / to.rate), ''} end
spend(a.wanted)
return {'0', ''}
