"""Parts of the base class `crmgate.provider.CRMProvider`: settings, mapping, records, HTTP."""
