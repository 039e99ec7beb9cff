from crmgate.testing.hubspot import FakeHubSpot
from crmgate.testing.server import serve

serve(FakeHubSpot())
