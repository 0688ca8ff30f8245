"""The page for people: a Streamlit application that talks to the service over HTTP."""
