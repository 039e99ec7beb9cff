"""What `crmgate.provider.CRMProvider`, the base class of plugins, is made of: mapping, HTTP, known persons."""
