"""The page on which people label, served by pickwise itself. Needs Starlette and uvicorn, from the extra ``label``.

It knows no projects: what it asks and where answers go is a `Source`. Each of its modules does one thing: `guard`
decides who may ask, `bodies` what a request may say, `leases` who gets which row, `writing` how answers become durable,
`feed` how the queue follows the project, `media` which files are shown, and `shown` how.
"""
