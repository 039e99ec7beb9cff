"""From an accepted submission to a confirmed record in the CRM: accept, attempt, record the outcome."""
