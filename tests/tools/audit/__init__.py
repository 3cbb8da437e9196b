"""What the project is made of: known vulnerabilities, licences, and a list of it all."""
