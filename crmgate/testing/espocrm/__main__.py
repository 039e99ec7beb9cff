from crmgate.testing.espocrm import FakeEspoCRM
from crmgate.testing.server import serve

serve(FakeEspoCRM())
